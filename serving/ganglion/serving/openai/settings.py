"""What one request may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """Bounds of one request, and what stands for what it leaves out.

    Args:
        body_bytes: of a request, its images in base64 too.
        body_s: seconds in which it must have come, and in which a client must take a piece of a stream.
        images: in one request.
        image_pixels: of each, before it is made smaller.
        deadline_s: seconds in which it must be answered.
        max_new_tokens: of an answer, where the request does not say.
        workers: requests that are read and preprocessed at once, beside the thread that writes answers.
        leave_s: seconds that running answers have to end when the server is told to stop.
    """

    body_bytes: int = 8 << 20
    body_s: float = 30.0
    images: int = 16
    image_pixels: int = 32_000_000
    deadline_s: float = 120.0
    max_new_tokens: int = 256
    workers: int = 2
    leave_s: float = 10.0
