"""A request's body, of bounded size and in bounded time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from ganglion.serving.openai.errors import ApiError


async def read_body(request: Request, most_bytes: int, seconds: float) -> bytes:
    """All of it, which says that it is JSON: a page in a browser can't send that elsewhere unasked.

    Raises:
        ApiError: it is larger, comes too slowly, or says that it is something else.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "the body must have content-type: application/json")
    told = request.headers.get("content-length", "")
    too_large = ApiError(413, f"the body has more than {most_bytes} bytes", code="request_too_large")
    if told.isdecimal() and int(told) > most_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > most_bytes:
                    raise too_large
    except ClientDisconnect:
        raise ApiError(499, "the client went away") from None
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {seconds:g} s") from None
    return bytes(body)
