"""The one HTTP/2 stream of a gRPC call, as bytes in and bytes out (RFC 9113, of the client's side).

A robot sends and reads some hundred small messages a second on a stream that lasts for hours. What there is to do for
one is a frame's header and a few counters; a general library takes 0.3 ms for it on a processor that has just woken
up. Headers, which come once, are compressed by the library hpack.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Sequence

import hpack

STREAM = 1  # the first of a client
_DATA, _HEADERS, _RESET, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _MORE_HEADERS = 0, 1, 3, 4, 5, 6, 7, 8, 9
_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_INITIAL_WINDOW, _MAX_FRAME, _ENABLE_PUSH = 4, 5, 2  # settings
_DEFAULT_WINDOW, _LARGEST_WINDOW = 65_535, 2**31 - 1
_RECEIVE_WINDOW = 1 << 24  # for the server to send into; told anew when half of it is used
_FRAME_BYTES = 16_384  # the most that a frame holds unless settings say so
_MOST_HEADER_BYTES = 1 << 16
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER, _SETTING, _NUMBER = struct.Struct(">BHBBI"), struct.Struct(">HI"), struct.Struct(">I")

Headers = dict[str, str]
Event = bytes | Headers | str
"""What came: bytes of the answer, its headers or trailers, or why there will be no more of it."""


class Http2Error(Exception):
    """The other side broke the protocol, or speaks another one."""


class Http2Stream:
    """A connection with one stream.

    Args:
        headers: of the request, those with a colon first.
    """

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        self._decoder = hpack.Decoder(_MOST_HEADER_BYTES)
        self._window = self._connection_window = _DEFAULT_WINDOW  # what the server takes
        self._initial_window, self._frame_bytes = _DEFAULT_WINDOW, _FRAME_BYTES
        self._received = 0  # since windows were told
        self._unsent: deque[memoryview] = deque()
        self._in = b""
        self._block: bytes | None = None  # headers of which more frames follow
        self._greeted, self._ending, self._ended = False, False, False
        block = hpack.Encoder().encode(headers)
        if len(block) > _FRAME_BYTES:
            raise Http2Error(f"{len(block)} bytes of headers are too many")
        settings = _SETTING.pack(_ENABLE_PUSH, 0) + _SETTING.pack(_INITIAL_WINDOW, _RECEIVE_WINDOW)
        self._out = bytearray(_PREFACE)
        self._write(_SETTINGS, 0, 0, settings)
        self._write(_WINDOW, 0, 0, _NUMBER.pack(_RECEIVE_WINDOW - _DEFAULT_WINDOW))
        self._write(_HEADERS, _END_HEADERS, STREAM, block)

    def send(self, data: bytes) -> None:
        """Bytes of the request."""
        if data:
            self._unsent.append(memoryview(data))

    def end(self) -> None:
        """No more of them follow."""
        self._ending = True

    def output(self) -> bytes:
        """What may go out now, which is not given again."""
        unsent = self._unsent
        while unsent:
            room = min(self._window, self._connection_window, self._frame_bytes)
            if room <= 0:
                break
            data = unsent[0]
            if len(data) > room:
                data, unsent[0] = data[:room], data[room:]
            else:
                unsent.popleft()
            self._write(_DATA, 0, STREAM, data)
            self._window -= len(data)
            self._connection_window -= len(data)
        if self._ending and not self._ended and not unsent:
            self._write(_DATA, _END_STREAM, STREAM, b"")
            self._ended = True
        out, self._out = bytes(self._out), bytearray()
        return out

    def take(self, data: bytes) -> Iterator[Event]:
        """What came from the other side; it may call for output.

        Raises:
            Http2Error: it is not HTTP/2.
        """
        data = self._in + data
        at = 0
        while len(data) - at >= 9:
            high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
            size = high << 16 | low
            if size > _FRAME_BYTES or (not self._greeted and kind != _SETTINGS):
                raise Http2Error(f"a frame of kind {kind} and {size} bytes")
            if len(data) - at - 9 < size:
                break
            yield from self._frame(kind, flags, stream & 0x7FFFFFFF, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._in = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, body: bytes) -> Iterator[Event]:
        self._greeted = True
        if self._block is not None and kind != _MORE_HEADERS:
            raise Http2Error("headers that are not ended")
        try:
            if kind == _DATA:
                self._count(len(body))
                yield _unpadded(flags, body)
                if flags & _END_STREAM:
                    yield "ended the stream"
            elif kind in (_HEADERS, _MORE_HEADERS):
                yield from self._headers(kind, flags, body)
            elif kind == _WINDOW:
                self._widen(stream, _NUMBER.unpack(body)[0] & _LARGEST_WINDOW)
            elif kind == _PING and not flags & _ACK:
                self._write(_PING, _ACK, 0, body)
            elif kind == _SETTINGS and not flags & _ACK:
                self._settle(body)
            elif kind == _RESET:
                yield f"reset the stream (code {_NUMBER.unpack(body)[0]})"
            elif kind == _GOAWAY:
                yield "ended the connection"
            elif kind == _PUSH:
                raise Http2Error("a push that was not allowed")
        except (struct.error, IndexError, hpack.HPACKError) as error:
            raise Http2Error(f"a frame of kind {kind} that can't be read ({error!r:.80})") from None

    def _headers(self, kind: int, flags: int, body: bytes) -> Iterator[Event]:
        if kind == _HEADERS:
            body = _unpadded(flags, body)[5 if flags & _PRIORITY else 0 :]
            self._closes = bool(flags & _END_STREAM)
        elif self._block is None:
            raise Http2Error("headers that nobody began")
        self._block = (self._block or b"") + body
        if len(self._block) > _MOST_HEADER_BYTES:
            raise Http2Error("too many headers")
        if not flags & _END_HEADERS:
            return
        block, self._block = self._block, None
        pairs = self._decoder.decode(block, raw=True)
        yield {bytes(name).decode("latin-1"): bytes(value).decode(errors="replace") for name, value in pairs}
        if self._closes:
            yield "ended the stream"

    def _settle(self, body: bytes) -> None:
        for name, value in _SETTING.iter_unpack(body):
            if name == _INITIAL_WINDOW:
                self._widen(STREAM, value - self._initial_window)
                self._initial_window = value
            elif name == _MAX_FRAME:
                self._frame_bytes = min(max(value, _FRAME_BYTES), 1 << 20)
        self._write(_SETTINGS, _ACK, 0, b"")

    def _widen(self, stream: int, by: int) -> None:
        if stream:
            self._window += by
        else:
            self._connection_window += by
        if max(self._window, self._connection_window) > _LARGEST_WINDOW:
            raise Http2Error("a window that is too wide")

    def _count(self, size: int) -> None:
        self._received += size
        if self._received > _RECEIVE_WINDOW // 2:
            for stream in (0, STREAM):
                self._write(_WINDOW, 0, stream, _NUMBER.pack(self._received))
            self._received = 0

    def _write(self, kind: int, flags: int, stream: int, body: bytes | memoryview) -> None:
        self._out += _HEADER.pack(len(body) >> 16, len(body) & 0xFFFF, kind, flags, stream)
        self._out += body


def _unpadded(flags: int, body: bytes) -> bytes:
    if not flags & _PADDED:
        return body
    if body[0] >= len(body):
        raise Http2Error("more padding than frame")
    return body[1 : len(body) - body[0]]
