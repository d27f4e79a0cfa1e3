"""Photographs as people see them: RGB, and turned as the camera noted.

Phones store a picture as the sensor lay and note in EXIF how to turn it. Training, export and serving all read images
by these functions, so none sees a photograph on its side.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from ganglion.core.errors import InputError

JPEG_QUALITY = 90

ImageLike = bytes | Path | Image.Image | npt.NDArray[np.uint8]

_AS_STORED = 1
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height


def open_image(image: ImageLike, where: object = "image") -> Image.Image:
    """Decode an image fully, as RGB.

    Args:
        image: JPEG or PNG bytes, a file, a PIL image, or (height, width, 3) uint8 RGB.
        where: what to call it in an error.

    Raises:
        InputError: it can't be read or decoded, or the array is of another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(
                f"array is {image.dtype} {image.shape}", where=where, remedy="give uint8 (height, width, 3) RGB"
            )
        return Image.fromarray(image)
    if isinstance(image, Path):
        where = image
    try:
        if isinstance(image, Image.Image):
            return upright(image)
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return upright(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't be decoded ({reason:.160})", where=where, remedy="give a whole JPEG or PNG") from None


def encode_jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """(height, width, 3) uint8 RGB as the JPEG that a robot sends; training sees the same."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def upright(image: Image.Image) -> Image.Image:
    """The decoded image in RGB, turned by its EXIF orientation."""
    turned = image if _orientation(image) == _AS_STORED else ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):  # Pillow would cut all above 255 off, which leaves most of it white
        turned = turned.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return turned.convert("RGB")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height that `upright` gives, in pixels, from the header alone."""
    return (image.height, image.width) if _orientation(image) in _SIDEWAYS else image.size


def _orientation(image: Image.Image) -> object:
    """Mostly 1 to 8; a camera may have written anything."""
    return image.getexif().get(ExifTags.Base.Orientation, _AS_STORED)
