"""A `PolicyHost` for robots of this machine, on a Unix socket: one thread, one connection for each robot.

What a robot sends lies in a memory that it shares (see `core.local_wire`). A connection that ends, ends its session, so
a killed robot's place is free at once. A robot that does not read its replies is dropped; nobody waits for it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.event_log import fields
from ganglion.core.hop_check import check_length
from ganglion.core.local_wire import (
    HELLO,
    MOST_REQUEST,
    memory_size,
    pack_error,
    pack_error_text,
    pack_reply,
    read_packet,
    read_tensors,
    same_user,
)
from ganglion.core.policy_wire import ServerFull, read_request, reply_tensors
from ganglion.core.specs import RobotSpec
from ganglion.serving.policy.host import PolicyHost

LOG = logging.getLogger("ganglion.serving.policy")
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)
_SPARE = 8  # connections beyond the slots, whose robots are told that it is full
_HELLO_S = 1.0  # to say hello in; who has not by then makes room for others
_SWEEP_S = 1.0  # between looks for sessions that are silent, and for descriptors where there were none
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass
class _Connection:
    socket: socket.socket
    robot: int
    heard_s: float
    memory: int = -1  # file descriptor
    size: int = 0


class LocalServer:
    """Serves until `stop`.

    Args:
        listening: from `local_listener.listen`; closed by who made it.
        host: serves the robots; closed by who made it.
        robot: what the policy was made for.
        slots: of the host.
        idle_s: who was silent for so long leaves his connection to others that want one.
    """

    def __init__(
        self, listening: socket.socket, host: PolicyHost, robot: RobotSpec, *, slots: int, idle_s: float
    ) -> None:
        self._listening, self._host, self._robot = listening, host, robot
        self._most, self._idle_s = slots + _SPARE, idle_s
        self._connections: dict[int, _Connection] = {}
        self._made, self._swept_s = 0, time.monotonic()
        self._woken, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for one in (listening, self._woken):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until `stop`, then end every connection."""
        try:
            while True:
                found = self._selector.select(_SWEEP_S)
                if (now := time.monotonic()) - self._swept_s > _SWEEP_S:
                    self._sweep(now)
                for key, _ in found:
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listening:
                        self._accept()
                    elif (connection := cast(_Connection, key.data)).robot in self._connections:
                        self._hear(connection)
        finally:
            for connection in list(self._connections.values()):
                self._drop(connection)
            self._selector.close()
            self._woken.close()
            self._waker.close()

    def stop(self) -> None:
        """End `run`; from a handler of signals, or any thread. Harmless when called twice."""
        with suppress(OSError):
            self._waker.send(b".")

    def _accept(self) -> None:
        try:
            made, _ = self._listening.accept()
        except OSError as error:
            if error.errno in _NONE_LEFT:  # whoever waits would be told of again and again, at once
                LOG.error("no_descriptors", extra=fields(error=error.strerror))
                self._selector.unregister(self._listening)
            return  # else it has gone again
        made.setblocking(False)
        now = time.monotonic()
        connection = _Connection(made, self._made, now)
        self._made += 1
        if not same_user(made):
            self._refuse(connection, GanglionError("serves its own user", where="policy server"))
            return
        if len(self._connections) >= self._most and not self._make_room(now):
            self._refuse(
                connection,
                ServerFull(
                    f"has {self._most} connections already",
                    where="policy server",
                    remedy="try again when a robot has left, or serve with more --slots",
                ),
            )
            return
        self._connections[connection.robot] = connection
        self._selector.register(made, selectors.EVENT_READ, connection)

    def _sweep(self, now: float) -> None:
        self._swept_s = now
        self._host.sweep()
        if self._listening not in self._selector.get_map():
            self._selector.register(self._listening, selectors.EVENT_READ)

    def _make_room(self, now: float) -> bool:
        oldest = min(self._connections.values(), key=lambda one: one.heard_s)
        if now - oldest.heard_s <= (_HELLO_S if oldest.memory < 0 else self._idle_s):
            return False
        self._drop(oldest)
        return True

    def _hear(self, connection: _Connection) -> None:
        connection.heard_s = time.monotonic()
        try:
            if connection.memory < 0:
                self._greet(connection)
                return
            packet = connection.socket.recv(MOST_REQUEST + 1)
        except BlockingIOError:
            return
        except InputError as error:
            self._refuse(connection, error)
            return
        except OSError:
            packet = b""
        if not packet:
            self._drop(connection)
            return
        try:
            connection.socket.send(self._answer(connection, packet))
        except OSError:  # it does not read, or has gone
            self._drop(connection)

    def _answer(self, connection: _Connection, packet: bytes) -> bytes:
        try:
            try:
                asked = read_packet(packet, connection.size)
                data = os.pread(connection.memory, asked.size, asked.offset)
                request = read_request(read_tensors(asked, data))
                check_length(request.hop, self._robot)
            except Exception as error:
                self._host.unreadable(connection.robot, error)
                raise
            reply = self._host.handle(connection.robot, request, start=asked.start, end=asked.end)
            return pack_reply(reply_tensors(reply, self._robot.actions.dim))
        except GanglionError as error:
            return pack_error(error)
        except Exception as error:  # of this robot's message: the others are served on
            return pack_error_text(f"internal: {error!r:.300}")

    def _greet(self, connection: _Connection) -> None:
        """Take the memory of a connection.

        Raises:
            InputError: it is none that can be used.
        """
        said, passed, _, _ = socket.recv_fds(connection.socket, len(HELLO) + 1, 1)
        if not said and not passed:
            raise OSError("has gone")
        try:
            if said != HELLO or not passed:
                raise InputError("did not say hello", where="policy client", remedy="match versions")
            size, most = os.fstat(passed[0]).st_size, memory_size(self._robot)
            if not 0 < size <= most:
                raise InputError(f"shares {size} bytes", where="policy client", remedy=f"share at most {most}")
            if not _sealed(passed[0]):
                raise InputError("shares what is no sealed memory", where="policy client", remedy="seal a memfd")
        except InputError:
            for one in passed:
                os.close(one)
            raise
        connection.memory, connection.size = passed[0], size

    def _refuse(self, connection: _Connection, error: GanglionError) -> None:
        with suppress(OSError):
            connection.socket.send(pack_error(error))
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.robot, None):
            self._selector.unregister(connection.socket)
            self._host.leave(connection.robot)
        connection.socket.close()
        if connection.memory >= 0:
            os.close(connection.memory)
            connection.memory = -1


def _sealed(memory: int) -> bool:
    """Whether it is a memfd that can't change its size: reading it then never waits; memfd_create(2)."""
    try:
        return bool(fcntl.fcntl(memory, fcntl.F_GET_SEALS) & _SEALS == _SEALS)
    except OSError:
        return False
