"""Server-sent events as a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventReply(Response):
    """Sends events as they come, and closes their source whatever happens.

    Args:
        events: each a whole event.
        headers: beside its own.
        ended: called at the end, even where nothing could be sent.
        seconds: in which a client must take what has come; one that does not is left.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        ended: Callable[[], None],
        seconds: float,
    ) -> None:
        self.status_code, self.background = 200, None
        self._events, self._ended, self._seconds = events, ended, seconds
        self.init_headers({**headers, "cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for event in self._events:
                async with asyncio.timeout(self._seconds):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            pass
        finally:
            await self._events.aclose()
            self._ended()
