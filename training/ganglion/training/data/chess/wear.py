"""What screenshots, scanners and cameras do to a board: crop, tilt, light, low resolution, blur, noise, JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ganglion.training.data.chess.look import INSIDE, OUTSIDE, Look
from ganglion.training.data.chess.render import AROUND

Pixels = npt.NDArray[np.floating]
# Of a byte's 256 values, evenly drawn: values normally distributed, some times as fast as drawing them one by one.
_NORMAL = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)
_MOST_TILT = math.radians(1.5)


@dataclass(frozen=True)
class Crop:
    """What of the page is in the picture: squares beyond the board at each side (below 0 cut off), tilt in radians."""

    left: float
    top: float
    right: float
    bottom: float
    tilt: float


def whole_board(look: Look) -> Crop:
    """The board with its coordinates, and nothing beyond."""
    beside = 0.62 if look.coordinates == OUTSIDE else 0.0
    return Crop(beside, 0.0, 0.0, beside, 0.0)


def random_crop(rng: np.random.Generator, look: Look) -> Crop:
    """Up to 0.75 squares, some 8 % of the picture, around the board, or a little cut off, where nothing is printed."""
    by_hand = rng.random() < 0.4  # as people cut a board out of a screenshot
    sides = rng.uniform(-0.03, 0.06, 4) if by_hand else rng.uniform(-0.12, 0.75, 4)
    if look.coordinates == INSIDE:
        sides = np.maximum(sides, 0)
    if look.coordinates == OUTSIDE:
        sides = np.maximum(sides, (rng.uniform(0.58, 0.75), -1, -1, rng.uniform(0.58, 0.75)))
    tilt = rng.uniform(-_MOST_TILT, _MOST_TILT) if rng.random() < 0.35 else 0.0
    left, top, right, bottom = (float(side) for side in sides)
    return Crop(left, top, right, bottom, float(tilt))


def cut_out(canvas: Image.Image, crop: Crop, edge: int, size: int, page: tuple[int, int, int]) -> Image.Image:
    """The crop as a picture of (size, size); the canvas should be about twice as large, since two pixels become one."""
    across, down = (8 + crop.left + crop.right) * edge / size, (8 + crop.top + crop.bottom) * edge / size
    left, top = (AROUND - crop.left) * edge, (AROUND - crop.top) * edge
    cos, sin = math.cos(crop.tilt), math.sin(crop.tilt)
    middle = size / 2
    # Pixel (x, y) of the picture is turned about its middle, scaled, and moved to the corner of the crop.
    a, b, d, e = across * cos, -across * sin, down * sin, down * cos
    c = left + across * middle - a * middle - b * middle
    f = top + down * middle - d * middle - e * middle
    return canvas.transform(
        (size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR, fillcolor=page
    )


def worn(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """The picture as it may come out of a camera, a scanner or a chat program; same size."""
    size = image.width
    if rng.random() < 0.15:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.25:
        small = max(32, round(size * rng.uniform(0.5, 0.9)))
        image = image.resize((small, small), Image.Resampling.BILINEAR).resize((size, size), Image.Resampling.BICUBIC)
    image = image.point(_tone(rng))
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 1.3) * size / 256))
    lit, noisy = rng.random() < 0.3, rng.random() < 0.5
    if not (lit or noisy):
        return image
    values: Pixels = np.asarray(image, dtype=np.float32)
    if lit:
        values = values * _light(rng, size)
    if noisy:
        channels = 3 if rng.random() < 0.5 else 1
        draws = np.frombuffer(rng.bytes(size * size * channels), np.uint8).reshape(size, size, channels)
        values = values + (_NORMAL * np.float32(rng.uniform(2, 14)))[draws]
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _tone(rng: np.random.Generator) -> list[int]:
    """A table of 3 x 256 for contrast, brightness, gamma and tint; black pieces stay darker than white ones."""
    contrast, brightness, gamma = rng.uniform(0.7, 1.2), rng.uniform(-25, 20), rng.uniform(0.8, 1.25)
    levels = 255 * (np.arange(256) / 255) ** gamma
    tinted = [(levels - 128) * contrast * tint + 128 + brightness for tint in rng.uniform(0.95, 1.05, 3)]
    return [int(level) for level in np.concatenate(tinted).clip(0, 255)]


def _light(rng: np.random.Generator, size: int) -> Pixels:
    """(size, size, 1): brighter on one side than on the other, as paper under a lamp."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    direction, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.25)
    slope: Pixels = 1 + strength * (axis[None, :] * math.cos(direction) + axis[:, None] * math.sin(direction))
    return slope[..., None].astype(np.float32)
