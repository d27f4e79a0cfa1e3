"""One gRPC call with messages both ways, on a socket of its own, moved on by the thread that uses it and no other.

A general gRPC library hands each message through half a dozen threads, each of which has to be woken. A robot waits for
every answer anyway: here its own thread sends, polls and reads, and a deadline is a poll's.

The protocol is gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import unquote

from ganglion.core.errors import GanglionError
from ganglion.robot_bridge.http2 import Event, Http2Error, Http2Stream

Socket = socket.socket
_READ_BYTES = 1 << 16
_LONGEST_MESSAGE = 1 << 26
_PREFIX = struct.Struct(">BI")  # compressed or not, length


class GrpcStream:
    """The call. For one thread.

    Args:
        connected: a socket that is connected, and encrypted where it is to be; this object closes it.
        authority: host:port, for the server to read.
        path: /package.Service/Method.
        metadata: names in lower case, and values.
    """

    def __init__(self, connected: Socket, authority: str, path: str, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._socket, self._authority = connected, authority
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        scheme = "https" if isinstance(connected, ssl.SSLSocket) else "http"
        headers = [
            (":method", "POST"),
            (":scheme", scheme),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "ganglion"),
            *metadata,
        ]
        self._http = Http2Stream(headers)
        self._out = bytearray()  # of the connection, waiting for the socket
        self._in = bytearray()
        self._messages: deque[bytes] = deque()
        self._answered = False
        self.error: GanglionError | None = None  # why there will be no more messages
        self._flush()

    def send(self, message: bytes) -> None:
        """Send it, or as much of it as the server takes now; the rest goes out in later calls."""
        self._http.send(_PREFIX.pack(0, len(message)) + message)
        self._flush()

    def receive(self, until_s: float) -> bytes | None:
        """The next message, or None: none came before `until_s` of the monotonic clock, or the call is over."""
        while not self._messages and not self.error:
            if not self._wait(until_s):
                return None
        return self._messages.popleft() if self._messages else None

    def close(self, within_s: float) -> None:
        """Say that no message follows, wait for the server to end the call, and close. Harmless when called twice."""
        end_s = time.monotonic() + within_s
        self._http.end()
        self._flush()
        while not self.error and self._wait(end_s):
            self._messages.clear()
        self._fail("is closed")
        self._socket.close()

    def _wait(self, until_s: float) -> bool:
        """Read and write what can be, once; False if the time came before anything could."""
        self._poll.modify(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
        # What the library of encryption has read already does not wake a poll.
        buffered = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        left_ms = 1e3 * (until_s - time.monotonic())
        if not buffered and not self._poll.poll(max(0.0, left_ms)):
            return False
        self._read()
        self._flush()
        return True

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        if not data:
            self._fail("closed the connection")
            return
        if data.startswith(b"HTTP/1") and not self._answered:
            self._fail("speaks HTTP/1, not gRPC: is it the port for gRPC?")
            return
        self._answered = True
        try:
            for event in self._http.take(data):
                self._take(event)
        except Http2Error as error:
            self._fail(f"does not speak HTTP/2 ({error})")

    def _take(self, event: Event) -> None:
        if isinstance(event, bytes):
            self._in += event
            self._split()
        elif isinstance(event, str):
            self._fail(event)
        elif (status := event.get(":status", "200")) != "200":
            self._fail(f"answers with HTTP status {status}")
        elif (status := event.get("grpc-status", "0")) != "0":
            self._fail(unquote(event.get("grpc-message", "")) or f"ended the stream with status {status}")

    def _split(self) -> None:
        """Take whole messages out of what came."""
        while len(self._in) >= _PREFIX.size:
            compressed, size = _PREFIX.unpack_from(self._in)
            if compressed or size > _LONGEST_MESSAGE:
                self._fail(
                    f"sent a message of {size} bytes" if size > _LONGEST_MESSAGE else "sent a compressed message"
                )
                return
            end = _PREFIX.size + size
            if len(self._in) < end:
                return
            self._messages.append(bytes(memoryview(self._in)[_PREFIX.size : end]))
            del self._in[:end]

    def _flush(self) -> None:
        """Hand over what the server's window and the socket take."""
        if self.error:
            return
        self._out += self._http.output()
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _fail(self, what: str) -> None:
        self.error = self.error or GanglionError(
            f"{what:.200}", where=f"policy server {self._authority}", remedy="see whether it runs"
        )
