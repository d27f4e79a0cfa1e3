"""How robots and a policy host on one machine speak: packets of a Unix socket, tensors in a memory they share.

    hello    HELLO, with a memfd that is sealed against changing its size
    request  flags, where the tensors lie in the memory, and of each its name and shape
    reply    the chunk and the report, or an error's text

The tensors of a request lie one after the other, each at a multiple of 16 bytes, and are read by one `pread`: what a
client writes later changes nothing, and no memory of its can end the host. Nothing is ever unpickled.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.policy_wire import Tensors, error_text, read_error
from ganglion.core.specs import RobotSpec

HELLO = b"ganglion policy 1"
MOST_REQUEST, MOST_WAITING = 4096, 8  # bytes of a packet; a socket of Linux holds ten packets that nobody reads
_START, _END = 1, 2
_REQUEST = struct.Struct("=BxHIQ")  # flags, tensors, their bytes, their place
_TENSOR = struct.Struct("=BBxxII")  # name, dimensions, shape; a text has none, and its length
_REPLY = struct.Struct("=?xxxII")  # an error or not, the chunk's shape
_TYPES: dict[str, tuple[str, int]] = {  # "": texts, one entry for each
    "samples_fp16": ("f2", 2),
    "samples_fp32": ("f4", 2),
    "clock": ("i8", 1),
    "prime": ("u1", 1),
    "state": ("f4", 1),
    "frames": ("", 0),
    "frame_cameras": ("", 0),
    "frame_stamps_ns": ("i8", 1),
    "instruction": ("", 0),
    "token": ("u1", 1),
}
_NAMES = list(_TYPES)
_ALIGN, _ROOM, _MOST_ERROR = 16, 1 << 16, 4000
_WHERE = "policy request"


@dataclass(frozen=True)
class Packet:
    """A request's packet: where in the memory its tensors lie, and what they are: (name, shape) each."""

    start: bool
    end: bool
    offset: int
    size: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]


def default_socket() -> Path:
    """Where a host listens unless told otherwise: in the user's runtime folder, else in one of his own."""
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(given, "ganglion-policy.sock")
    return Path(tempfile.gettempdir(), f"ganglion-{os.getuid()}", "ganglion-policy.sock")


def same_user(peer: socket.socket) -> bool:
    """Whether the process at the other end is this user's, or root's; unix(7), SO_PEERCRED."""
    _, user, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return user in (0, os.getuid())


def longest_frame(robot: RobotSpec) -> int:
    """Bytes of a JPEG, at most: as many as its pixels have, and room for a head."""
    return max((3 * camera.height * camera.width for camera in robot.cameras), default=0) + _ROOM


def memory_size(robot: RobotSpec) -> int:
    """Bytes of a client's memory: two windows, and as many hops with frames as may wait. Untouched ones cost none.

    A message may be of two windows itself.
    """
    window = hop = _ROOM
    if robot.sensors:
        sensor = robot.sensors[0]
        window, hop = (4 * sensor.channels * n + _ROOM for n in (sensor.window_samples, sensor.hop_samples))
    return 4 * window + MOST_WAITING * (hop + len(robot.cameras) * longest_frame(robot))


def pack_request(tensors: Tensors, *, start: bool, end: bool) -> tuple[bytes, list[bytes]]:
    """The entries of a request's packet, for `seal_request`, and what to write into the memory, in this order."""
    entries, parts = [], []
    for name, value in tensors.items():
        number = _NAMES.index(name)
        for one in value if value.dtype == object else (value,):
            data = one if isinstance(one, bytes) else one.tobytes()
            shape = (len(data), 0) if isinstance(one, bytes) else (*one.shape, 0)[:2]
            entries.append(_TENSOR.pack(number, 0 if isinstance(one, bytes) else one.ndim, *shape))
            parts += [data, bytes(-len(data) % _ALIGN)]
    flags = (_START if start else 0) | (_END if end else 0)
    return struct.pack("=BxH", flags, len(entries)) + b"".join(entries), parts


def seal_request(packed: bytes, offset: int, size: int) -> bytes:
    """The packet, once it is known where its tensors lie."""
    return packed[:4] + struct.pack("=IQ", size, offset) + packed[4:]


def read_packet(packet: bytes, memory: int) -> Packet:
    """A request's packet, which may come from anybody, for a memory of so many bytes.

    Raises:
        InputError: it is none, or names what does not lie in the memory.
    """
    if len(packet) < _REQUEST.size:
        raise InputError(f"has {len(packet)} bytes", where=_WHERE, remedy="match versions")
    flags, count, size, offset = _REQUEST.unpack_from(packet)
    if len(packet) != _REQUEST.size + count * _TENSOR.size or flags & ~(_START | _END):
        raise InputError(f"of {count} tensors has {len(packet)} bytes", where=_WHERE, remedy="match versions")
    if offset + size > memory:
        raise InputError(f"lies beyond the memory's {memory} bytes", where=_WHERE, remedy="match versions")
    tensors = tuple(_entry(*found) for found in _TENSOR.iter_unpack(packet[_REQUEST.size :]))
    if sum(_padded(_bytes(name, shape)) for name, shape in tensors) != size:
        raise InputError(f"has tensors of another size than {size} bytes", where=_WHERE, remedy="match versions")
    return Packet(bool(flags & _START), bool(flags & _END), offset, size, tensors)


def read_tensors(packet: Packet, data: bytes) -> Tensors:
    """The tensors of a packet in what was read from the memory.

    Raises:
        InputError: a name comes twice.
    """
    tensors: Tensors = {}
    texts: dict[str, list[bytes]] = {}
    at = 0
    for name, shape in packet.tensors:
        kind, size = _TYPES[name][0], _bytes(name, shape)
        if not kind:
            texts.setdefault(name, []).append(data[at : at + size])
        elif name in tensors:
            raise InputError(f"holds {name!r} twice", where=_WHERE, remedy="send it once")
        else:
            tensors[name] = np.ndarray(shape, kind, data, at)
        at += _padded(size)
    return tensors | {name: _objects(values) for name, values in texts.items()}


def pack_reply(tensors: Tensors) -> bytes:
    """A reply's packet."""
    chunk = tensors["chunk"]
    return (
        _REPLY.pack(False, *chunk.shape) + chunk.astype(np.float32, copy=False).tobytes() + tensors["report"].tobytes()
    )


def pack_error(error: GanglionError) -> bytes:
    """The packet that says what went wrong."""
    return pack_error_text(error_text(error))


def pack_error_text(text: str) -> bytes:
    """See `pack_error`; of an error that is none of ours."""
    return _REPLY.pack(True, 0, 0) + text.encode(errors="replace")[:_MOST_ERROR]


def longest_reply(robot: RobotSpec) -> int:
    """Bytes of a reply's packet, at most."""
    return 4 * robot.actions.horizon * robot.actions.dim + _ROOM


def read_reply_packet(packet: bytes) -> Tensors | GanglionError:
    """What a host answered: the tensors of a reply, or the error.

    Raises:
        GanglionError: it is no answer.
    """
    if len(packet) >= _REPLY.size:
        wrong, rows, columns = _REPLY.unpack_from(packet)
        if wrong:
            return read_error(packet[_REPLY.size :].decode(errors="replace"))
        report = _REPLY.size + 4 * rows * columns
        if report <= len(packet):
            chunk = np.frombuffer(packet, np.float32, rows * columns, _REPLY.size).reshape(rows, columns)
            return {"chunk": chunk.copy(), "report": np.frombuffer(packet[report:], np.uint8)}
    raise GanglionError("sent what is no answer", where="policy server", remedy="match versions")


def _entry(number: int, dimensions: int, rows: int, columns: int) -> tuple[str, tuple[int, ...]]:
    if number >= len(_NAMES):
        raise InputError(f"names tensor {number}", where=_WHERE, remedy="match versions")
    name = _NAMES[number]
    if dimensions != _TYPES[name][1]:
        raise InputError(f"{name!r} has {dimensions} dimensions", where=_WHERE, remedy=f"send {_TYPES[name][1]}")
    return name, (rows, columns) if dimensions == 2 else (rows,)


def _bytes(name: str, shape: Sequence[int]) -> int:
    return prod(shape) * int((_TYPES[name][0] or "u1")[-1])


def _padded(size: int) -> int:
    return size + -size % _ALIGN


def _objects(values: Sequence[bytes]) -> npt.NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = values
    return found
