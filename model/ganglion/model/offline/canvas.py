"""A small canvas that keeps count of regions, and what light and lens add to a drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE, CELL = 112, 7  # pixels
SCALE = 2  # drawn larger and reduced, for soft edges
# What a pixel belongs to; the regions of a drawing are numbered by it.
REGIONS = ("upper", "lower", "wing", "strip", "bar", "mark", "stripe")
Color = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """Paints color and, in a second image, the region. Points are fractions of the side."""

    def __init__(self, color: Color, region: str) -> None:
        side = (SIDE * SCALE, SIDE * SCALE)
        self._images = Image.new("RGB", side, color), Image.new("L", side, REGIONS.index(region))
        self._color, self._region = (ImageDraw.Draw(image) for image in self._images)

    def polygon(self, points: list[Point], color: Color, region: str) -> None:
        """Paints a filled polygon."""
        pixels = _pixels(points)
        self._color.polygon(pixels, fill=color)
        self._region.polygon(pixels, fill=REGIONS.index(region))

    def line(self, points: list[Point], color: Color, width: int) -> None:
        """Paints color only."""
        self._color.line(_pixels(points), fill=color, width=width)

    def ellipse(self, center: Point, radii: Point, color: Color, region: str | None) -> None:
        """Paints color only where region is None."""
        (x, y), (rx, ry) = center, radii
        box = _pixels([(x - rx, y - ry), (x + rx, y + ry)])
        self._color.ellipse(box, fill=color)
        if region is not None:
            self._region.ellipse(box, fill=REGIONS.index(region))

    def finished(self, rng: np.random.Generator) -> tuple[Image.Image, NDArray[np.uint8]]:
        """The image with light and lens, and the region map."""
        color, region = self._images
        cells = SIDE // CELL
        return exposed(rng, color), np.asarray(region.resize((cells, cells), Image.Resampling.NEAREST))


def exposed(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Reduced to SIDE, with random contrast, brightness, side light, blur and noise."""
    values = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = 1 + rng.uniform(-0.2, 0.2) * axis[None, :, None] + rng.uniform(-0.2, 0.2) * axis[:, None, None]
    values = (values * light - 128) * rng.uniform(0.75, 1.2) + 128 + rng.uniform(-25, 25)
    small = Image.fromarray(values.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    noise = rng.standard_normal((SIDE, SIDE, 3), dtype=np.float32) * rng.uniform(1, 8)
    noisy: NDArray[np.float32] = np.asarray(small, dtype=np.float32) + noise
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _pixels(points: list[Point]) -> list[Point]:
    return [(x * SIDE * SCALE, y * SIDE * SCALE) for x, y in points]
