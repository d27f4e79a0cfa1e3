"""A policy in a server of this machine (`ganglion serve policy --backend in-process`), for one robot.

    with LocalPolicyClient(default_socket(), robot) as client:
        Bridge(robot, source, client).run(seconds=20)

What a robot sends lies in a memory that it shares with the server, a memfd: nothing is left of it, whoever is killed.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time
from pathlib import Path

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.local_wire import (
    HELLO,
    MOST_REQUEST,
    MOST_WAITING,
    default_socket,
    longest_frame,
    longest_reply,
    memory_size,
    pack_request,
    read_reply_packet,
    same_user,
    seal_request,
)
from ganglion.core.messages import Frame
from ganglion.core.policy_wire import PolicyRequest, Tensors, request_tensors
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.remote_client import Busy, RemoteClient

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class LocalPolicyClient(RemoteClient):
    """A `core.messages.PolicyClient`; see `RemoteClient`.

    Args:
        path: the server's socket; None for where it listens by default.
        robot: what the policy was exported for.
        deadline_ms: how long `send_hop` waits for a reply.
        most_waiting: hops without a reply yet, beyond which none is sent; at most 8.

    Raises:
        InputError: `most_waiting` is above 8.
    """

    def __init__(
        self, path: Path | str | None, robot: RobotSpec, *, deadline_ms: float = 10.0, most_waiting: int = MOST_WAITING
    ) -> None:
        if most_waiting > MOST_WAITING:
            raise InputError(f"most_waiting is {most_waiting}", where="policy client", remedy=f"give {MOST_WAITING}")
        super().__init__(robot, deadline_ms=deadline_ms, most_waiting=most_waiting)
        self._path, self._longest = Path(path or default_socket()), longest_frame(robot)

    def send_frame(self, frame: Frame) -> None:
        """Hand over a frame and return at once; it goes with the next hop, or the newest of its camera does.

        Raises:
            InputError: it has more bytes than its pixels would, and some.
        """
        if len(frame.jpeg) > self._longest:
            raise InputError(f"frame has {len(frame.jpeg)} bytes", where=f"camera {frame.camera}", remedy="send a JPEG")
        super().send_frame(frame)

    def _begin(self) -> _Opening:
        return _Opening(self._path, self._robot)


class _Opening:
    """A connection is there at once, or not at all."""

    def __init__(self, path: Path, robot: RobotSpec) -> None:
        self._path, self._robot = path, robot

    def wait(self, within_s: float) -> LocalLine:
        """See remote_client.Opening."""
        return LocalLine(self._path, self._robot)

    def give_up(self) -> None:
        """See remote_client.Opening."""


class LocalLine:
    """A connection and the memory it shares. For one thread.

    Raises:
        GanglionError: there is no server.
    """

    def __init__(self, path: Path, robot: RobotSpec) -> None:
        self.error: GanglionError | None = None
        self._path, self._size, self._longest = path, memory_size(robot), longest_reply(robot)
        self._places: list[tuple[int, int]] = []  # of what waits, in the memory
        self._memory = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        try:
            self._socket.connect(str(path))
            if not same_user(self._socket):
                raise OSError("is another user's")
            self._memory = os.memfd_create("ganglion-policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self._memory, self._size)
            fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(self._socket, [HELLO], [self._memory])
        except OSError as error:
            self.close(0.0)
            raise self._failed(error) from None
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def send(self, request: PolicyRequest, start: bool, end: bool) -> None:
        """See remote_client.Line.

        Raises:
            Busy: there is no room left in the memory.
            InputError: it never has such room.
        """
        packed, parts = pack_request(request_tensors(request), start=start, end=end)
        size = sum(map(len, parts))
        if size > self._size or len(packed) > MOST_REQUEST - 16:
            raise InputError(f"message has {size} bytes", where="policy client", remedy=f"send at most {self._size}")
        offset = self._places[-1][1] if self._places else 0
        if offset + size > self._size:
            offset = 0
        if any(offset < stop and begin < offset + size for begin, stop in self._places):
            raise Busy("leaves no room in the memory", where=f"policy server {self._path}")
        os.pwritev(self._memory, parts, offset)
        self._places.append((offset, offset + size))
        try:
            self._socket.send(seal_request(packed, offset, size))
        except ConnectionError:
            pass  # what it said before that, and its end, is read by `receive`
        except OSError as error:
            self.error = self.error or self._failed(error)

    def receive(self, until_s: float) -> Tensors | GanglionError | None:
        """See remote_client.Line."""
        if self.error or not self._poll.poll(max(0.0, 1e3 * (until_s - time.monotonic()))):
            return None
        try:
            packet = self._read()
        except BlockingIOError:
            return None
        except OSError as error:
            self.error = self._failed(error)
            return None
        if not packet:
            self.error = self._failed(OSError("closed the connection"))
            return None
        del self._places[:1]
        return read_reply_packet(packet)

    def close(self, within_s: float) -> None:
        """See remote_client.Line; the server ends the session when it sees the end, so there is nothing to wait for."""
        self._socket.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _read(self) -> bytes:
        try:
            return self._socket.recv(self._longest)
        except ConnectionResetError:  # it left without reading all: what it said before comes after this
            return self._socket.recv(self._longest)

    def _failed(self, error: OSError) -> GanglionError:
        said = error.strerror or str(error)
        return GanglionError(f"{said:.200}", where=f"policy server {self._path}", remedy="see whether it runs")
