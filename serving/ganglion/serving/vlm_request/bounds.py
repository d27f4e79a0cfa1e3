"""What one request may cost, and what stands for what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RequestBounds:
    """Bounds of one request.

    Args:
        body_bytes: of a request, its images too.
        images: in one request.
        image_pixels: of each, before it is made smaller.
        deadline_s: seconds in which it must be answered.
        max_new_tokens: of an answer, where the request does not say.
        workers: requests that are read and preprocessed at once, beside the thread that writes answers.
    """

    body_bytes: int = 8 << 20
    images: int = 16
    image_pixels: int = 32_000_000
    deadline_s: float = 120.0
    max_new_tokens: int = 256
    workers: int = 2
