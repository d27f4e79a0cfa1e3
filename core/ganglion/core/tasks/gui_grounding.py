"""Where on a screen: boxes and points in pixels of the original screenshot, and answers in thousandths of its sides.

A box is half-open: x0 <= x < x1, y0 <= y < y1. An answer names the pixel under its point; 1000 is the last pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.images import upright_size
from ganglion.core.tasks.gui_schema import PARTS
from ganglion.core.tasks.task import RowError, is_number

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_ROUND = 10  # thousandths that answers are rounded to where the box is wide: fewer digits to learn
_NEAR = 2  # thousandths to either side of a box's center that are tried; a box that needs more is not nameable


@dataclass(frozen=True)
class Screen:
    """The screenshot of a step, and where on it the step acts.

    size   width and height, pixels
    box    (x0, y0, x1, y1), pixels; None where there is none
    point  (x, y), pixels: the box's center, or what was given instead of a box; None where the step acts nowhere
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None

    def answer_point(self) -> list[int] | None:
        """The point that an answer should give, in thousandths: the one nearest to `point`, within the box.

        It is rounded to tens along a side of the box that is at least twenty thousandths long.

        Raises:
            RowError: no thousandth falls into the box.
        """
        if self.point is None:
            return None
        if self.box is None:
            return [_nearest(place, side) for place, side in zip(self.point, self.size, strict=True)]
        x0, y0, x1, y1 = self.box
        found = [_within(x0, x1, self.size[0]), _within(y0, y1, self.size[1])]
        if None in found:
            raise RowError(
                "grounding.box",
                f"is {list(self.box)}, so small that no thousandth of {self.size[0]} x {self.size[1]} falls into it",
                "give a larger box, or a point",
            )
        return [part for part in found if part is not None]

    def hit(self, answered: Sequence[int] | None) -> bool | None:
        """Whether the answered pixel is in the box; None where there is no box."""
        if self.box is None:
            return None
        if answered is None:
            return False
        (x, y), (x0, y0, x1, y1) = pixel_at(answered, self.size), self.box
        return x0 <= x < x1 and y0 <= y < y1

    def distance(self, answered: Sequence[int] | None) -> float | None:
        """From the answered point to `point`, in pixels; None where either is missing."""
        if answered is None or self.point is None:
            return None
        places = [part * side / PARTS for part, side in zip(answered, self.size, strict=True)]
        return math.dist(places, self.point)


def pixel_at(answered: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """The pixel under a point.

    Args:
        answered: x and y in thousandths, 0 to 1000.
        size: width and height, pixels.
    """
    x, y = (min(int(part) * side // PARTS, side - 1) for part, side in zip(answered, size, strict=True))
    return x, y


def find_screen(folder: Path, name: Any) -> Path:
    """The screenshot of that name in the folder or its subfolder images, with its suffix or without.

    Raises:
        RowError: there is none, or more than one.
    """
    if not (isinstance(name, str) and name.strip()) or "\0" in name:
        raise RowError("image_path", f"is {name!r:.40}", "give a file name")
    places = (folder / name, folder / "images" / name)
    try:
        if whole := [path for path in places if path.is_file()]:
            return whole[0]
        found = [path for place in places for suffix in _SUFFIXES if (path := _with(place, suffix)).is_file()]
    except OSError as error:  # such as a name that is too long
        raise RowError("image_path", f"is {name[:40]!r} ({error.strerror})", "give a file name") from None
    if len(found) > 1:
        raise RowError("image_path", f"is {name!r:.80}, which may be any of {len(found)} files", "give the suffix too")
    return found[0] if found else places[0]  # a missing file is the reader's to name


def _with(path: Path, suffix: str) -> Path:
    return path.parent / (path.name + suffix)


def screen_size(path: Path) -> tuple[int, int]:
    """Width and height as people see it, in pixels, from the file's header.

    Raises:
        RowError: the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return upright_size(image)
    except FileNotFoundError:
        raise RowError("image_path", f"{path} does not exist", "correct the path (relative to the data file)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise RowError("image_path", f"{path} can't be decoded ({reason:.160})", "replace the image") from None


def read_grounding(value: Any, size: tuple[int, int]) -> Screen:
    """`{"box": [x0, y0, x1, y1]}` or `{"point": [x, y]}` in pixels, or {} or None for nowhere.

    Raises:
        RowError: it is none of these, not within the screen, or an empty box.
    """
    given = _given(value)
    if not given:
        return Screen(size)
    (name, numbers), column = next(iter(given.items())), f"grounding.{next(iter(given))}"
    count = 4 if name == "box" else 2
    if not isinstance(numbers, list | tuple) or len(numbers) != count or not all(map(is_number, numbers)):
        raise RowError(column, f"is {numbers!r:.60}", f"give {count} numbers (pixels)")
    width, height = size
    if name == "point":
        x, y = numbers
        if not (0 <= x < width and 0 <= y < height):
            raise RowError(column, f"is {numbers!r:.60}, outside the {width} x {height} screenshot", "correct it")
        return Screen(size, None, (x, y))
    x0, y0, x1, y1 = numbers
    if not (x0 < x1 and y0 < y1):
        raise RowError(column, f"is {numbers!r:.60}, an empty box", "give [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    if min(x0, y0) < 0 or x1 > width or y1 > height:
        raise RowError(column, f"is {numbers!r:.60}, outside the {width} x {height} screenshot", "correct it")
    return Screen(size, (x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2))


def _given(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RowError(
            "grounding", f"is {str(value)[:40]!r}", 'give {"box": [x0, y0, x1, y1]}, {"point": [x, y]} or null'
        )
    for key in value:
        if key not in ("box", "point"):
            raise RowError(f"grounding.{str(key)[:40]}", "is unknown", "use box or point")
    given = {key: inner for key, inner in value.items() if inner is not None}  # Arrow fills keys with null
    if len(given) > 1:
        raise RowError("grounding", "has both box and point", "give one of them")
    return given


def _nearest(place: float, side: int) -> int:
    return min(max(round(place * PARTS / side), 0), PARTS)


def _within(low: float, high: float, side: int) -> int | None:
    """The thousandth nearest to the middle of low <= x < high whose pixel lies there; of wide boxes a round one."""
    middle = (low + high) / 2 * PARTS / side
    near, near_ten = round(middle), round(middle / _ROUND) * _ROUND
    tried = sorted(range(near - _NEAR, near + _NEAR + 1), key=lambda part: abs(part - middle))
    if (high - low) * PARTS >= 2 * _ROUND * side:  # then it is at most a quarter of the box off the middle
        tried = [near_ten, *tried]
    pixels = ((part, min(part * side // PARTS, side - 1)) for part in tried if 0 <= part <= PARTS)
    return next((part for part, pixel in pixels if low <= pixel < high), None)
