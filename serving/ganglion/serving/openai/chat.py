"""POST /v1/chat/completions: read the request, have it answered, send the answer whole or as it is written.

A client that goes away cancels its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ganglion.serving.openai.body import read_body
from ganglion.serving.openai.errors import ApiError, api_error
from ganglion.serving.openai.metrics import ServerMetrics
from ganglion.serving.openai.reading import ChatRequest, read_request
from ganglion.serving.openai.record import CLIENT_CLOSED, CLIENT_GONE, RequestRecord
from ganglion.serving.openai.replies import DONE, Reply, event
from ganglion.serving.openai.settings import ServerSettings
from ganglion.serving.openai.sse import EventReply
from ganglion.serving.tracing import open_tracer
from ganglion.serving.vlm.answering import Answering
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.text import TextPieces


class Chat:
    """The endpoint.

    Args:
        engine: answers.
        model: the name it is served by.
        settings: bounds of a request.
        metrics: told of each.
        most: requests held at once, read or not.
    """

    def __init__(
        self, engine: VlmEngine, model: str, settings: ServerSettings, metrics: ServerMetrics, most: int
    ) -> None:
        self._engine, self._model, self._settings, self._metrics = engine, model, settings, metrics
        self._most, self._held = most, 0
        self._tracer = open_tracer()
        # Images and grammars are prepared here, so that neither the event loop nor running answers wait for them.
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="openai-request")

    async def __call__(self, request: Request) -> Response:
        """The answer, or what is wrong."""
        asked = RequestRecord(Reply(self._model), self._metrics, self._tracer)
        if self._held >= self._most:
            refused = asked.refused(ApiError(429, "too many requests at once", code="queue_full"))
            asked.tell()
            return refused
        self._held += 1
        gone: asyncio.Task[None] | None = None
        answering: Answering | None = None

        def leave() -> None:
            self._held -= 1
            if gone is not None and answering is not None:
                gone.cancel()
                answering.result.cancel()
            asked.tell()

        try:
            wanted, answering, steps = await self._start(request, asked)
            gone = asyncio.create_task(_cancel_when_gone(request, answering))
            written = self._written(answering, steps, wanted, asked)
            if wanted.request.stream:
                # What goes wrong before the first piece has a status of its own.
                first = await anext(written, "")
                return EventReply(_events(first, written, asked), asked.headers, leave, self._settings.body_s)
            text = "".join([piece async for piece in written])
            reply: Response = JSONResponse(
                asked.reply.completion(text, asked.outcome, asked.usage), headers=asked.headers
            )
        except Exception as error:
            reply = asked.refused(api_error(error), error)
        except BaseException:  # the server stops
            leave()
            raise
        leave()
        return reply

    async def _start(self, request: Request, asked: RequestRecord) -> tuple[ChatRequest, Answering, asyncio.Queue[Any]]:
        """Read the request and hand it to the engine; its tokens come through the queue, then None."""
        settings, loop = self._settings, asyncio.get_running_loop()
        body = await read_body(request, settings.body_bytes, settings.body_s)
        asked.body_bytes = len(body)
        steps: asyncio.Queue[Any] = asyncio.Queue()

        def tell(step: Sequence[int] | None) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, step)

        def ask() -> tuple[ChatRequest, Answering]:
            wanted = read_request(body, self._model, settings)
            asked.images, asked.stream = wanted.request.dialogue.images, wanted.request.stream
            left_s = settings.deadline_s - (time.perf_counter() - asked.started)
            return wanted, wanted.request.ask(self._engine, tell, left_s)

        wanted, answering = await loop.run_in_executor(self._workers, ask)
        asked.reply = replace(asked.reply, include_usage=wanted.include_usage)
        asked.prompt_tokens = answering.prompt_tokens
        self._metrics.prompt_tokens.inc(asked.prompt_tokens)
        answering.result.add_done_callback(lambda _: tell(None))
        return wanted, answering, steps

    async def _written(
        self, answering: Answering, steps: asyncio.Queue[Any], wanted: ChatRequest, asked: RequestRecord
    ) -> AsyncIterator[str]:
        """Pieces of the answer's text; `asked` is told how it ended."""
        pieces = TextPieces(self._engine.decode, wanted.request.stops)
        while (step := await steps.get()) is not None:
            asked.count(step)
            if piece := pieces.add(step):
                yield piece
            if pieces.stopped:
                answering.result.cancel()
                asked.outcome = "stop"
                return
        if answering.result.cancelled():
            asked.outcome, asked.status = CLIENT_GONE, CLIENT_CLOSED
            return
        answer = answering.result.result()
        if rest := pieces.rest():
            yield rest
        asked.outcome = "stop" if answer.complete or pieces.stopped else "length"


async def _events(first: str, written: AsyncIterator[str], asked: RequestRecord) -> AsyncGenerator[bytes, None]:
    reply = asked.reply
    try:
        yield reply.chunk({"role": "assistant", "content": first})
        async for piece in written:
            yield reply.chunk({"content": piece})
        if asked.outcome == CLIENT_GONE:
            return
        yield reply.chunk({}, asked.outcome)
        if reply.include_usage:
            yield reply.usage_chunk(asked.usage)
        yield DONE
    except Exception as error:
        failure = api_error(error)
        asked.outcome, asked.status = "failed", failure.status
        yield event(failure.body)


async def _cancel_when_gone(request: Request, answering: Answering) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    answering.result.cancel()
