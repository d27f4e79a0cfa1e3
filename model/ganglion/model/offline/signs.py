"""What a sheet shows: letters in the cells of a grid, or badges strewn over a page; and what is at a spot of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganglion.model.offline.canvas import Color

LETTERS = "ABCDEHKLNPQRSTXZ"
COLORS: dict[str, Color] = {
    "red": (210, 45, 45),
    "orange": (240, 140, 30),
    "yellow": (240, 215, 40),
    "green": (60, 165, 65),
    "cyan": (40, 190, 200),
    "blue": (45, 80, 205),
    "purple": (140, 60, 175),
    "pink": (240, 130, 180),
}
SHADES = ("pale", "dark")
SHAPES = ("disc", "bar", "triangle")
Sign = tuple[int, int, int, int]
"""Letter, color, shade and shape: places in LETTERS, COLORS, SHADES and SHAPES + 1, 0 where it has none."""
NOTHING: Sign = (0, 0, 0, 0)
SIZES = (len(LETTERS) + 1, len(COLORS) + 1, len(SHADES) + 1, len(SHAPES) + 1)
"""How many values each part of a sign has, none among them."""
SIDE = 256
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
_AROUND = 6  # pixels around a badge that count as it: a spot is 32 pixels wide


@dataclass(frozen=True)
class Grid:
    """cells: rows from the top, each from the left, of letters or ""; origin and cell size in pixels.

    A pale letter is a capital, a dark one a small letter.
    """

    cells: tuple[tuple[str, ...], ...]
    x: float
    y: float
    cell_width: float
    cell_height: float
    size: tuple[int, int] = (SIDE, SIDE)

    def sign_at(self, x: float, y: float) -> Sign:
        """What is at a pixel."""
        column, row = math.floor((x - self.x) / self.cell_width), math.floor((y - self.y) / self.cell_height)
        inside = 0 <= row < len(self.cells) and 0 <= column < len(self.cells[0])
        letter = self.cells[row][column] if inside else ""
        if not letter:
            return NOTHING
        return LETTERS.index(letter.upper()) + 1, 0, 1 if letter.isupper() else 2, 0


@dataclass(frozen=True)
class Badge:
    """A colored tile with a glyph in its middle."""

    color: str
    shade: str
    shape: str
    box: Box

    @property
    def name(self) -> str:
        """Such as "dark red disc"."""
        return f"{self.shade} {self.color} {self.shape}"

    @property
    def sign(self) -> Sign:
        """Its places."""
        return 0, [*COLORS].index(self.color) + 1, SHADES.index(self.shade) + 1, SHAPES.index(self.shape) + 1


@dataclass(frozen=True)
class Page:
    """Badges, no two alike; size: width and height in pixels."""

    badges: tuple[Badge, ...]
    size: tuple[int, int]

    def sign_at(self, x: float, y: float) -> Sign:
        """What is at a pixel."""
        for badge in self.badges:
            x0, y0, x1, y1 = badge.box
            if x0 - _AROUND <= x < x1 + _AROUND and y0 - _AROUND <= y < y1 + _AROUND:
                return badge.sign
        return NOTHING


Shown = Grid | Page


def signs(shown: Shown, rows: int, columns: int) -> NDArray[np.int64]:
    """(rows, columns, 4) what the middle of each spot shows, as Signs."""
    width, height = shown.size
    middles = [
        [shown.sign_at((column + 0.5) * width / columns, (row + 0.5) * height / rows) for column in range(columns)]
        for row in range(rows)
    ]
    return np.array(middles, np.int64)
