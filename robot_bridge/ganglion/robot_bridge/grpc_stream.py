"""One gRPC call with messages both ways, on a socket of its own, moved on by the thread that uses it and no other.

A general gRPC library hands each message through half a dozen threads, each of which has to be woken. A robot waits for
every answer anyway: here its own thread sends, polls and reads, and a deadline is a poll's.

The protocol is gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md); frames, header
compression and flow control are the library h2's.
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

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from ganglion.core.errors import GanglionError

Socket = socket.socket
_READ_BYTES = 1 << 16
_RECEIVE_WINDOW = 1 << 24  # of the connection: what comes is read at once
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
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._stream = 1  # the first of a client
        self._unsent = bytearray()  # of the call, waiting for the server's window
        self._out = bytearray()  # of the connection, waiting for the socket
        self._in = bytearray()
        self._messages: deque[bytes] = deque()
        self._answered, self._ending, self._ended = False, False, False
        self.error: GanglionError | None = None  # why there will be no more messages
        self._begin(path, metadata)

    def send(self, message: bytes) -> None:
        """Send it, or as much of it as the server takes now; the rest goes out in later calls."""
        self._unsent += _PREFIX.pack(0, len(message)) + message
        self._flush()

    def receive(self, until_s: float) -> bytes | None:
        """The next message, or None: none came before `until_s` of the monotonic clock, or the call is over."""
        while not self._messages and not self.error:
            if not self._wait(until_s):
                return None
        return self._messages.popleft() if self._messages else None

    def close(self, within_s: float) -> None:
        """Say that no message follows, wait for the server to end the call, and close. Harmless when called twice."""
        self._ending, end_s = True, time.monotonic() + within_s
        self._flush()
        while not self.error and self._wait(end_s):
            self._messages.clear()
        self._fail("is closed")
        self._socket.close()

    def _begin(self, path: str, metadata: Sequence[tuple[str, str]]) -> None:
        scheme = "https" if isinstance(self._socket, ssl.SSLSocket) else "http"
        self._http.initiate_connection()
        self._http.increment_flow_control_window(_RECEIVE_WINDOW)
        headers = [
            (":method", "POST"),
            (":scheme", scheme),
            (":path", path),
            (":authority", self._authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "ganglion"),
            *metadata,
        ]
        self._http.send_headers(self._stream, headers)
        self._flush()

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
            for event in self._http.receive_data(data):
                self._take(event)
        except h2.exceptions.H2Error as error:
            self._fail(f"does not speak HTTP/2 ({error!r:.120})")

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._in += event.data
            self._http.acknowledge_received_data(event.flow_controlled_length, self._stream)
            self._split()
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            headers = {name.decode(): value.decode(errors="replace") for name, value in event.headers}
            if (status := headers.get(":status", "200")) != "200":
                self._fail(f"answers with HTTP status {status}")
            elif (status := headers.get("grpc-status", "0")) != "0":
                self._fail(unquote(headers.get("grpc-message", "")) or f"ended the stream with status {status}")
        elif isinstance(event, h2.events.StreamReset):
            self._fail(f"reset the stream ({event.error_code!s})")
        elif isinstance(event, h2.events.StreamEnded | h2.events.ConnectionTerminated):
            self._fail("ended the stream")

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
        try:
            self._fill()
        except h2.exceptions.H2Error as error:
            self._fail(f"does not speak HTTP/2 ({error!r:.120})")
            return
        self._out += self._http.data_to_send()
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _fill(self) -> None:
        while self._unsent:
            size = min(
                len(self._unsent),
                self._http.local_flow_control_window(self._stream),
                self._http.max_outbound_frame_size,
            )
            if size <= 0:
                return
            self._http.send_data(self._stream, bytes(memoryview(self._unsent)[:size]))
            del self._unsent[:size]
        if self._ending and not self._ended:
            self._http.end_stream(self._stream)
            self._ended = True

    def _fail(self, what: str) -> None:
        self.error = self.error or GanglionError(
            f"{what:.200}", where=f"policy server {self._authority}", remedy="see whether it runs"
        )
