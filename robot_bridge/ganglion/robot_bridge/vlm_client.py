"""Asking a served VLM, in OpenAI's protocol: one task, one answer that the task allows.

    with VlmClient(VlmServer("http://127.0.0.1:8100/v1")) as client:
        reply = client.ask(get_task("exo_assist"), prompt, [frame.jpeg])
        reply.value, reply.timings_ms

A server that is not there yet is asked again until the deadline; a request that it refused is not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType

import httpx

from ganglion.core.chat_request import EarlierTurn
from ganglion.core.images import ImageLike
from ganglion.core.tasks import Task
from ganglion.robot_bridge.vlm_exchange import Exchange, Reply, VlmServer, waits


class VlmClient:
    """A line to a server, kept open between questions; not for several threads at once.

    Args:
        server: where it is.

    Raises:
        InputError: its address or certificate file can't be used.
    """

    def __init__(self, server: VlmServer) -> None:
        self.server = server
        self._client = httpx.Client(**server.client_options())

    def ask(
        self, task: Task, prompt: str, images: Sequence[ImageLike] = (), history: Sequence[EarlierTurn] = ()
    ) -> Reply:
        """Ask and wait for the whole answer.

        Args:
            task: gives the schema and the length of answers.
            prompt: the user's turn, without image placeholders.
            images: shown before it; sent as JPEG.
            history: the exchanges before it, first one first.

        Raises:
            InputError: an image can't be decoded, or the server refused the request.
            GanglionError: no valid answer came by the deadline; says which server, and why.
        """
        exchange = Exchange.of(self.server, task, prompt, images, history, stream=False)
        content = b""
        with self._answered(exchange) as (response, sent):
            for part in response.iter_bytes():
                content += part
                exchange.left_s()
        return exchange.read(content, sent)

    def stream(
        self, task: Task, prompt: str, images: Sequence[ImageLike] = (), history: Sequence[EarlierTurn] = ()
    ) -> Iterator[str]:
        """As `ask`, but give the text piece by piece as it is written; it is checked at its end.

        Raises:
            InputError: as of `ask`.
            GanglionError: as of `ask`; or the answer broke off.
        """
        exchange = Exchange.of(self.server, task, prompt, images, history, stream=True)
        whole = ""
        with self._answered(exchange) as (response, _):
            for line in response.iter_lines():
                if (piece := exchange.piece(line)) is None:
                    exchange.value(whole)
                    return
                if piece:
                    whole += piece
                    yield piece
                exchange.left_s()
        raise exchange.cut()

    def close(self) -> None:
        """Close the line."""
        self._client.close()

    def __enter__(self) -> VlmClient:
        """Give the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the line."""
        self.close()

    @contextmanager
    def _answered(self, exchange: Exchange) -> Iterator[tuple[httpx.Response, float]]:
        """The response that has begun, and when its request was sent."""
        for wait_s in waits():
            sent = time.monotonic()
            try:
                response = self._client.send(exchange.request(self._client), stream=True)
                break
            except httpx.HTTPError as error:
                if not exchange.tries_again(error, wait_s):
                    raise exchange.failed(error) from None
            time.sleep(wait_s)
        try:
            if response.status_code != httpx.codes.OK:
                raise exchange.refused(response.status_code, response.read())
            yield response, sent
        except httpx.HTTPError as error:
            raise exchange.failed(error) from None
        finally:
            response.close()


class AsyncVlmClient:
    """`VlmClient` for asyncio; several questions may be under way at once.

    Args:
        server: where it is.

    Raises:
        InputError: its address or certificate file can't be used.
    """

    def __init__(self, server: VlmServer) -> None:
        self.server = server
        self._client = httpx.AsyncClient(**server.client_options())

    async def ask(
        self, task: Task, prompt: str, images: Sequence[ImageLike] = (), history: Sequence[EarlierTurn] = ()
    ) -> Reply:
        """As `VlmClient.ask`."""
        exchange = Exchange.of(self.server, task, prompt, images, history, stream=False)
        content = b""
        async with self._answered(exchange) as (response, sent):
            async for part in response.aiter_bytes():
                content += part
                exchange.left_s()
        return exchange.read(content, sent)

    async def stream(
        self, task: Task, prompt: str, images: Sequence[ImageLike] = (), history: Sequence[EarlierTurn] = ()
    ) -> AsyncIterator[str]:
        """As `VlmClient.stream`."""
        exchange = Exchange.of(self.server, task, prompt, images, history, stream=True)
        whole = ""
        async with self._answered(exchange) as (response, _):
            async for line in response.aiter_lines():
                if (piece := exchange.piece(line)) is None:
                    exchange.value(whole)
                    return
                if piece:
                    whole += piece
                    yield piece
                exchange.left_s()
        raise exchange.cut()

    async def close(self) -> None:
        """Close the line."""
        await self._client.aclose()

    async def __aenter__(self) -> AsyncVlmClient:
        """Give the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the line."""
        await self.close()

    @asynccontextmanager
    async def _answered(self, exchange: Exchange) -> AsyncIterator[tuple[httpx.Response, float]]:
        """As `VlmClient._answered`."""
        for wait_s in waits():
            sent = time.monotonic()
            try:
                response = await self._client.send(exchange.request(self._client), stream=True)
                break
            except httpx.HTTPError as error:
                if not exchange.tries_again(error, wait_s):
                    raise exchange.failed(error) from None
            await asyncio.sleep(wait_s)
        try:
            if response.status_code != httpx.codes.OK:
                raise exchange.refused(response.status_code, await response.aread())
            yield response, sent
        except httpx.HTTPError as error:
            raise exchange.failed(error) from None
        finally:
            await response.aclose()
