"""Routes of the server, and what stands before them: the token, and whether a first answer has been written.

POST /v1/chat/completions  GET /v1/models  GET /metrics        want the token, where there is one
GET /health/live  GET /health/ready                            want none
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ganglion.core.event_log import fields
from ganglion.serving.openai.chat import Chat
from ganglion.serving.openai.errors import ApiError
from ganglion.serving.openai.metrics import ServerMetrics
from ganglion.serving.openai.replies import models
from ganglion.serving.openai.settings import ServerSettings
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits

LOG = logging.getLogger("ganglion.serving.openai")
_OPEN = "/health/"
_READY = "ready"


def make_app(
    engine: VlmEngine,
    model: str,
    *,
    limits: ServingLimits,
    settings: ServerSettings,
    token: str | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> Starlette:
    """The server as an ASGI application.

    Args:
        engine: answers.
        model: the name that requests must give.
        limits: those that the engine was opened with.
        settings: bounds of a request.
        token: that clients must send; None for none.
        on_ready: called once the model has written a first answer.
    """
    metrics, created = ServerMetrics(lambda: engine.load), int(time.time())
    chat = Chat(engine, model, settings, metrics, limits.running + limits.waiting)
    warmth = _Warmth()

    async def answer(request: Request) -> Response:
        if warmth.status != _READY:
            return ApiError(503, f"the model is not ready: {warmth.status}", code="not_ready").reply()
        return await chat(request)

    async def list_models(request: Request) -> Response:
        return JSONResponse(models(model, created))

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def is_ready(request: Request) -> Response:
        return JSONResponse({"status": warmth.status}, 200 if warmth.status == _READY else 503)

    async def prometheus(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(_warm_up(engine, warmth, on_ready))
        yield
        warming.cancel()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", answer, methods=["POST"]),
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/metrics", prometheus, methods=["GET"]),
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", is_ready, methods=["GET"]),
        ],
        middleware=[Middleware(_Token, token=token)] if token else [],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


@dataclass
class _Warmth:
    status: str = "warming up"


async def _warm_up(engine: VlmEngine, warmth: _Warmth, on_ready: Callable[[], None]) -> None:
    """Write a first answer, which is slower than those after it; the server is ready when it is written."""
    try:
        await asyncio.to_thread(engine.warm_up)
    except Exception as error:
        warmth.status = "the first answer failed"
        LOG.error("warm_up_failed", extra=fields(error=" ".join(str(error).split())))
    else:
        warmth.status = _READY
        on_ready()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, error.detail).reply(error.headers)


class _Token:
    """Lets nobody in without the token, but to see whether the server lives."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._want = app, f"Bearer {token}".encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(_OPEN):
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._want):
                refused = ApiError(401, "a valid bearer token is needed", code="invalid_api_key").reply()
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)
