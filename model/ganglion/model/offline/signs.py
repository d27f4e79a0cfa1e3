"""What a sheet shows: letters in the cells of a grid, or icons strewn over a page; and what is at a spot of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ganglion.model.offline.icons import COLORS, GLYPHS, ICONS, SHADES

LETTERS = "ABCDEHKLNPQRSTXZ"
Sign = tuple[int, int, int, int]
"""Letter, color, shade and glyph: places in LETTERS, COLORS, SHADES and GLYPHS + 1, 0 where it has none."""
NOTHING: Sign = (0, 0, 0, 0)
SIZES = (len(LETTERS) + 1, len(COLORS) + 1, len(SHADES) + 1, len(GLYPHS) + 1)
"""How many values each part of a sign has, none among them."""
SIDE = 256
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
Place = tuple[float, float]  # x, y in pixels
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

    def sign_at(self, x: float, y: float) -> tuple[Sign, Place]:
        """What is at a pixel, and the middle of it; of nothing, that pixel."""
        column, row = math.floor((x - self.x) / self.cell_width), math.floor((y - self.y) / self.cell_height)
        inside = 0 <= row < len(self.cells) and 0 <= column < len(self.cells[0])
        letter = self.cells[row][column] if inside else ""
        if not letter:
            return NOTHING, (x, y)
        middle = self.x + (column + 0.5) * self.cell_width, self.y + (row + 0.5) * self.cell_height
        return (LETTERS.index(letter.upper()) + 1, 0, 1 if letter.isupper() else 2, 0), middle


def icon_sign(name: str) -> Sign:
    """The sign of the icon with this name."""
    icon = ICONS[name]
    return 0, [*COLORS].index(icon.color) + 1, SHADES.index(icon.shade) + 1, GLYPHS.index(icon.glyph) + 1


@dataclass(frozen=True)
class Badge:
    """The icon of a name, and where it stands."""

    name: str
    box: Box

    @property
    def sign(self) -> Sign:
        """Its places."""
        return icon_sign(self.name)

    @property
    def middle(self) -> Place:
        """Of its box."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Page:
    """Badges, no two alike; size: width and height in pixels."""

    badges: tuple[Badge, ...]
    size: tuple[int, int]

    def sign_at(self, x: float, y: float) -> tuple[Sign, Place]:
        """What is at a pixel, and the middle of it; of nothing, that pixel."""
        for badge in self.badges:
            x0, y0, x1, y1 = badge.box
            if x0 - _AROUND <= x < x1 + _AROUND and y0 - _AROUND <= y < y1 + _AROUND:
                return badge.sign, badge.middle
        return NOTHING, (x, y)


Shown = Grid | Page


@dataclass(frozen=True)
class Spots:
    """What the spots of a sheet show.

    signs   (H, W, 4) int64, as Signs
    places  (H, W, 2) float32, the middle of what is there, of nothing that of the spot: y and x as parts of the sides
    """

    signs: Tensor
    places: Tensor


def spots(shown: Shown, rows: int, columns: int) -> Spots:
    """What the middle of each spot shows, of rows x columns."""
    width, height = shown.size
    middles = [
        ((k % columns + 0.5) * width / columns, (k // columns + 0.5) * height / rows) for k in range(rows * columns)
    ]
    signs, places = zip(*(shown.sign_at(*middle) for middle in middles), strict=True)
    parts = torch.tensor([(y / height, x / width) for x, y in places])
    return Spots(torch.tensor(signs).view(rows, columns, 4), parts.view(rows, columns, 2))
