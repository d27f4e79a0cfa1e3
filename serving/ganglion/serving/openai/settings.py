"""What one request may cost, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.serving.vlm_request.bounds import RequestBounds


@dataclass(frozen=True, kw_only=True)
class ServerSettings(RequestBounds):
    """Bounds of one request, and of the connection that it comes by.

    Args:
        body_s: seconds in which it must have come, and in which a client must take a piece of a stream.
        leave_s: seconds that running answers have to end when the server is told to stop.
    """

    body_s: float = 30.0
    leave_s: float = 10.0
