"""ASGI middleware by which vLLM asks for its token everywhere: `vllm serve --middleware ganglion_guard.TokenGuard`.

vLLM's own check covers paths under /v1, /v2 and /inference; /invocations answers the same questions without one, as its
help of --api-key says. Here only /health is open. The standard library only, since vLLM has an environment of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_OPEN = ("/health",)
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class TokenGuard:
    """Lets through what bears the token that VLLM_API_KEY holds."""

    def __init__(self, app: _App) -> None:
        self._app, self._expected = app, _digest(f"Bearer {os.environ['VLLM_API_KEY']}".encode())

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one connection, or refuse it."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in _OPEN or self._bears_token(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})

    def _bears_token(self, scope: _Message) -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(_digest(given[0]), self._expected)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
