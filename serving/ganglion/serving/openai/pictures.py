"""The image of a data: URL, looked at before it is decoded. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import binascii
import io
import re

from PIL import Image

from ganglion.serving.openai.errors import invalid

_DATA = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_FORMATS = ("JPEG", "PNG", "WEBP")


def read_picture(url: str, param: str, most_pixels: int) -> bytes:
    """The bytes of an image in base64.

    Args:
        url: `data:image/...;base64,...`.
        param: what to call it in an error.
        most_pixels: of its width times height, as its header says.

    Raises:
        ApiError: it is another kind of URL, no base64, no image, or a larger one.
    """
    head = _DATA.match(url)
    if head is None:
        raise invalid("is no data:image/...;base64 URL; others are not fetched", param, "invalid_image_url")
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("is no base64", param, "invalid_base64") from None
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            width, height = opened.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise invalid(f"is no image of {', '.join(_FORMATS)}", param, "invalid_image_format") from None
    if width * height > most_pixels:
        raise invalid(f"has {width} x {height} pixels, more than {most_pixels}", param, "image_too_large")
    return data
