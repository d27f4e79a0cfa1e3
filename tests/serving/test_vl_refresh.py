"""Frames of several robots, encoded by several threads: nobody waits for another's, and nobody's go back in time."""

import threading

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame
from ganglion.serving.policy.vl_encoder import VlFeatures
from ganglion.serving.policy.vl_refresh import VlRefresh, VlRequest

WAIT_S = 30  # for what must happen


class Encoder:
    """Encodes a robot's frames while the gate of that robot is open, and remembers who was inside at once."""

    def __init__(self):
        self.gates = {name: threading.Event() for name in "abc"}
        self.entered = {name: threading.Semaphore(0) for name in "abc"}
        self.inside, self.lock, self.twice, self.most = [], threading.Lock(), False, 0

    def __call__(self, frames, instruction):
        (frame,) = frames
        with self.lock:
            self.twice |= instruction in self.inside
            self.inside.append(instruction)
            self.most = max(self.most, len(self.inside))
        self.entered[instruction].release()
        assert self.gates[instruction].wait(WAIT_S)
        with self.lock:
            self.inside.remove(instruction)
        if frame.jpeg == b"broken":
            raise InputError("is no image")
        return VlFeatures(np.zeros((1, 2, 3), np.float32), np.ones((1, 2), np.float32), frame.stamp_ns, 0.0)


class Refreshed:
    def __init__(self, workers):
        self.encoder, self.got = Encoder(), {name: [] for name in "abc"}
        self.refresh = VlRefresh(self.encoder, workers)

    def submit(self, name, stamp, jpeg=b""):
        request = VlRequest((Frame("scene", stamp, jpeg),), name, self.got[name].append)
        self.refresh.submit(ord(name), request)

    def stamps(self, name):
        return [found.exposed_ns for found in self.got[name]]


@pytest.fixture
def refreshed():
    made = []

    def start(workers):
        made.append(Refreshed(workers))
        return made[-1]

    yield start
    for one in made:
        for gate in one.encoder.gates.values():
            gate.set()
        one.refresh.close()


def test_a_slow_robot_holds_up_no_other(refreshed):
    two = refreshed(2)
    two.submit("a", 1)
    assert two.encoder.entered["a"].acquire(timeout=WAIT_S)
    two.encoder.gates["b"].set()
    two.submit("b", 2)
    two.refresh.settle(ord("b"))
    assert two.stamps("b") == [2]
    assert two.stamps("a") == []


def test_one_robot_is_never_encoded_twice_at_once_and_its_newest_frame_wins(refreshed):
    three = refreshed(3)
    three.submit("a", 1)
    assert three.encoder.entered["a"].acquire(timeout=WAIT_S)
    for stamp in range(2, 6):
        three.submit("a", stamp)
    three.encoder.gates["b"].set()
    three.submit("b", 9)  # the idle threads do work, and pass by what waits for a's turn
    three.refresh.settle(ord("b"))
    assert three.encoder.inside == ["a"]
    three.encoder.gates["a"].set()
    three.refresh.settle(ord("a"))
    assert three.stamps("a") == [1, 5]
    assert not three.encoder.twice


def test_several_robots_are_encoded_at_once(refreshed):
    three = refreshed(3)
    for name in "abc":
        three.submit(name, 1)
    for name in "abc":
        assert three.encoder.entered[name].acquire(timeout=WAIT_S)
    assert three.encoder.most == 3


def test_with_one_thread_robots_take_turns(refreshed):
    one = refreshed(1)
    for gate in one.encoder.gates.values():
        gate.set()
    for stamp in range(20):
        for name in "abc":
            one.submit(name, stamp)
    for name in "abc":
        one.refresh.settle(ord(name))
        assert one.stamps(name)[-1] == 19
        assert one.stamps(name) == sorted(one.stamps(name))
    assert one.encoder.most == 1


def test_what_is_wrong_with_a_frame_is_delivered_to_its_robot_alone(refreshed):
    two = refreshed(2)
    for gate in two.encoder.gates.values():
        gate.set()
    two.submit("a", 1, b"broken")
    two.submit("b", 2)
    for name in "ab":
        two.refresh.settle(ord(name))
    assert [type(found) for found in two.got["a"]] == [InputError]
    assert two.stamps("b") == [2]
