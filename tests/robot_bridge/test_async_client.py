"""A policy client in an event loop: hops keep their order, and the loop goes on while one is waited for."""

import asyncio
import threading

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.robot_bridge.async_client import AsyncPolicyClient

WAIT_S = 30


class Host:
    """Answers a hop once its gate is open, and remembers what it was told."""

    def __init__(self):
        self.told, self.closed, self.gate = [], False, threading.Event()

    def set_instruction(self, instruction):
        self.told.append(instruction)

    def send_frame(self, frame):
        self.told.append(frame.camera)

    def send_hop(self, hop):
        assert self.gate.wait(WAIT_S)
        if hop.first_seq < 0:
            raise InputError("samples have another shape")
        self.told.append(hop.first_seq)
        return Reply(np.zeros((8, 7), np.float32), hop.first_seq, 0, True, None)

    def close(self):
        self.closed = True


def hop(number):
    return Hop(number, 0, np.zeros((13, 4), np.float16))


def test_the_loop_goes_on_while_a_hop_is_answered_and_hops_keep_their_order():
    host = Host()

    async def run():
        async with AsyncPolicyClient(host) as client:
            hops = [asyncio.ensure_future(client.send_hop(hop(number))) for number in range(5)]
            await asyncio.sleep(0)
            client.set_instruction("left")  # both while every hop still waits
            client.send_frame(Frame("scene", 0, b""))
            host.gate.set()
            return [reply.last_seq for reply in await asyncio.gather(*hops)]

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]
    assert host.told == ["left", "scene", 0, 1, 2, 3, 4]
    assert host.closed


def test_an_error_is_the_awaiters():
    host = Host()
    host.gate.set()

    async def run():
        async with AsyncPolicyClient(host) as client:
            with pytest.raises(InputError, match="another shape"):
                await client.send_hop(hop(-1))
            return await client.send_hop(hop(7))

    assert asyncio.run(run()).last_seq == 7


def test_a_hop_that_nobody_waits_for_any_more_is_sent_all_the_same():
    host = Host()

    async def run():
        async with AsyncPolicyClient(host) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(client.send_hop(hop(0))), 0.01)
            host.gate.set()
            return await client.send_hop(hop(1))

    assert asyncio.run(run()).last_seq == 1
    assert host.told == [0, 1]
