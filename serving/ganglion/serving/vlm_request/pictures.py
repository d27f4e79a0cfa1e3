"""Images as clients send them, looked at before they are decoded. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import binascii
import io
import re

from PIL import Image

from ganglion.serving.vlm_request.wrong import WrongField

_DATA = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_FORMATS = ("JPEG", "PNG", "WEBP")
_BEGINNINGS = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP", re.DOTALL)


def read_picture(url: str, param: str, most_pixels: int) -> bytes:
    """The bytes of an image in base64.

    Args:
        url: `data:image/...;base64,...`.
        param: what to call it in an error.
        most_pixels: of its width times height, as its header says.

    Raises:
        WrongField: it is another kind of URL, no base64, no image, or a larger one.
    """
    head = _DATA.match(url)
    if head is None:
        raise WrongField("is no data:image/...;base64 URL; others are not fetched", param, "invalid_image_url")
    return _checked(_decoded(url[head.end() :], param), param, most_pixels)


def read_picture_bytes(sent: bytes, param: str, most_pixels: int) -> bytes:
    """The bytes of an image that was sent as they are, or in base64 where only text can be sent.

    Args:
        sent: a JPEG, PNG or WebP, or such in base64.
        param: what to call it in an error.
        most_pixels: see `read_picture`.

    Raises:
        WrongField: it is neither, or a larger one.
    """
    data = sent if _BEGINNINGS.match(sent) else _decoded(sent, param)
    return _checked(data, param, most_pixels)


def _decoded(text: str | bytes, param: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise WrongField("is no base64", param, "invalid_base64") from None


def _checked(data: bytes, param: str, most_pixels: int) -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            width, height = opened.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise WrongField(f"is no image of {', '.join(_FORMATS)}", param, "invalid_image_format") from None
    if width * height > most_pixels:
        raise WrongField(f"has {width} x {height} pixels, more than {most_pixels}", param, "image_too_large")
    return data
