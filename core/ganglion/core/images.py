"""Photographs as people see them: RGB, and turned as the camera noted.

Phones store a picture as the sensor lay and note in EXIF how to turn it. Training, export and serving all read images
by these two functions, so none sees a photograph on its side.
"""

from __future__ import annotations

from PIL import ExifTags, Image, ImageOps

_AS_STORED = 1
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height


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
