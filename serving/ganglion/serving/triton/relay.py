"""HTTP in front of Triton's own, for this machine: what Triton would die of does not reach it.

Triton 2.51 reads JSON by recursion and believes every shape: a body nested 50,000 deep ends it, as does a tensor of
shape 2^62. Here a request is read whole and looked at before it goes on; its answer comes back as it is written.
One connection is one request, on both sides, so that a client that leaves leaves Triton, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ganglion.core.errors import InputError
from ganglion.serving.binding import LOCAL
from ganglion.serving.vlm_request.fields import read_json
from ganglion.serving.vlm_request.wrong import WrongField

_HEAD_BYTES, _HEADERS = 1 << 16, 100
_PATIENCE_S = 30.0  # for a request to come in
_FAREWELL_S = 2.0  # for a client that was refused to have read why
_CONNECTIONS = 256
_MOST_VALUES = 1 << 28  # of a tensor
_LENGTH, _JSON_LENGTH = "content-length", "inference-header-content-length"
_PASSED_ON = ("content-type", "accept", _JSON_LENGTH)
_CHUNK = 1 << 16
_REASONS = {400: "Bad Request", 411: "Length Required", 413: "Content Too Large", 502: "Bad Gateway"}
_REASONS |= {408: "Request Timeout", 503: "Service Unavailable"}


class Refused(Exception):
    """A request that goes no further.

    Args:
        status: of HTTP.
        said: to the client.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]


class Relay:
    """Listens while it is open, in a thread of its own.

    Args:
        port: where clients come, on this machine.
        triton_port: where Triton's HTTP is.
        key: header that opens Triton's inference API, name and value.
        body_bytes: of a request, at most.

    Raises:
        InputError: the port is taken.
    """

    def __init__(self, port: int, triton_port: int, key: tuple[str, str], body_bytes: int) -> None:
        self._port, self._triton_port, self._key, self._body_bytes = port, triton_port, key, body_bytes
        self._open = 0
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(
                asyncio.start_server(self._talk, LOCAL, port, limit=_HEAD_BYTES)
            )
        except OSError as error:
            self._loop.close()
            raise InputError(
                f"can't listen there ({error.strerror})", where=f"{LOCAL}:{port}", remedy="choose another --port"
            ) from None
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection."""
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                self._loop.run_until_complete(task)
        self._loop.close()

    def __enter__(self) -> Self:
        """Give the relay."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with _closed(writer):
                try:
                    if self._open > _CONNECTIONS:
                        raise Refused(503, f"has {_CONNECTIONS} connections already")
                    request, body = await self._hear(reader, writer)
                    await asyncio.to_thread(check_body, body, request.headers)
                    await self._pass_on(request, body, reader, writer)
                except Refused as refused:
                    await _answer(writer, refused.status, str(refused))
                    with contextlib.suppress(TimeoutError):  # else the answer may be lost with what was not read
                        await asyncio.wait_for(_drain(reader), _FAREWELL_S)
        finally:
            self._open -= 1

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[_Request, bytes]:
        """A whole request.

        Raises:
            Refused: it is none, or too long.
            ConnectionError: the client has gone.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                request = _read_head(await reader.readuntil(b"\r\n\r\n"))
                length = _length(request.headers, request.method)
                if length > self._body_bytes:
                    raise Refused(413, f"the request has more than {self._body_bytes} bytes")
                if request.headers.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return request, await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        except asyncio.LimitOverrunError:
            raise Refused(400, f"the request's head has more than {_HEAD_BYTES} bytes") from None
        except TimeoutError:
            raise Refused(408, f"the request did not come in {_PATIENCE_S:g} s") from None

    async def _pass_on(
        self, request: _Request, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send it to Triton and what comes back to the client, until either has gone."""
        try:
            answers, asking = await asyncio.open_connection(LOCAL, self._triton_port)
        except OSError:
            raise Refused(502, "Triton can't be reached") from None
        async with _closed(asking):
            headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
            headers |= {"host": LOCAL, "connection": "close", _LENGTH: str(len(body)), self._key[0]: self._key[1]}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            asking.write(f"{request.method} {request.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
            tasks = [asyncio.create_task(_copy(answers, writer)), asyncio.create_task(_drain(reader))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def check_body(body: bytes, headers: Mapping[str, str]) -> None:
    """See that Triton can read a request's body.

    Raises:
        Refused: it can't, or would die of it.
    """
    if "content-encoding" in headers:
        raise Refused(400, "content-encoding is not served")
    if not body:
        return
    length = headers.get(_JSON_LENGTH, str(len(body)))
    if not (length.isascii() and length.isdigit() and int(length) <= len(body)):
        raise Refused(400, f"{_JSON_LENGTH} is {length[:20]!r}, the body has {len(body)} bytes")
    try:
        told = read_json(body[: int(length)])
    except WrongField as error:
        raise Refused(400, str(error)) from None
    for tensor in told.get("inputs", ()) if isinstance(told, dict) else ():
        _check_shape(tensor)


def _check_shape(tensor: Any) -> None:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if shape is None:
        return
    whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not whole or math.prod(shape) > _MOST_VALUES or max(shape, default=0) > _MOST_VALUES:
        raise Refused(400, f"a tensor's shape is {json.dumps(shape)[:60]}; give at most {_MOST_VALUES} values")


def _read_head(head: bytes) -> _Request:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = first.split(" ")
    pairs = [line.partition(":") for line in lines]
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(pairs) > _HEADERS:
        raise Refused(400, "is no HTTP/1.1")
    if not (words[0].isascii() and words[0].isalpha() and words[1].startswith("/") and words[1].isprintable()):
        raise Refused(400, "is no HTTP/1.1")
    if any(not colon or name.strip() != name or not value.isprintable() for name, colon, value in pairs):
        raise Refused(400, "has a header that is none")
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if len(headers) < len(pairs):
        raise Refused(400, "has a header twice")
    return _Request(words[0], words[1], headers)


def _length(headers: Mapping[str, str], method: str) -> int:
    if "transfer-encoding" in headers or (method == "POST" and _LENGTH not in headers):
        raise Refused(411, f"say {_LENGTH}")
    length = headers.get(_LENGTH, "0")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise Refused(400, f"{_LENGTH} is {length[:20]!r}")
    return int(length)


async def _answer(writer: asyncio.StreamWriter, status: int, said: str) -> None:
    body = json.dumps({"error": said}).encode()
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n{_LENGTH}: {len(body)}\r\n"
    writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until there is no more; a client that does not read is waited for, and Triton with it."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


async def _drain(reader: asyncio.StreamReader) -> None:
    """Until the client has gone; what it still sends is nobody's."""
    with contextlib.suppress(OSError):
        while await reader.read(_CHUNK):
            pass


@asynccontextmanager
async def _closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close it at the end, whatever has become of the other side."""
    try:
        yield
    except ConnectionError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
