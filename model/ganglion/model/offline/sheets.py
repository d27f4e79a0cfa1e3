"""Sheets for the pretext training of the finer base: grids of letters, and labels strewn over a page.

What a vision tower learns from them is to tell small signs apart and to say where they are. Fonts are DejaVu, as they
come with matplotlib. Colors, sizes, margins and wear are random; a light letter is written as a capital, a dark one
as a small letter.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ganglion.model.offline.canvas import Color

SIDE = 256
LETTERS = "ABCDEHKLNPQRSTXZ"
# Common words of three to seven letters; none of them is on a screen of a task (tests/model/test_offline_content.py).
LABELS = (
    *("along", "way", "first", "who", "long", "come", "only", "place", "most", "man", "where", "any"),
    *("follow", "also", "small", "does", "because", "ask", "home", "hand", "animal", "letter", "study", "world"),
    *("school", "never", "eye", "late", "always", "night", "took", "face", "family", "fish", "bird", "usually"),
    *("ship", "water", "house", "table"),
)
SIGNS = (*LETTERS, *LETTERS.lower(), *LABELS)
"""What a spot of a sheet may show; 0 is nothing, a sign is its place here + 1."""
_SIZES = ((256, 256), (256, 256), (288, 224), (224, 288), (320, 192))
_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf")
_AROUND = 6  # pixels above and below a label that count as it: a spot is 32 pixels high


@dataclass(frozen=True)
class Grid:
    """cells: rows from the top, each from the left, of letters or ""; origin and cell size in pixels."""

    cells: tuple[tuple[str, ...], ...]
    x: float
    y: float
    cell_width: float
    cell_height: float

    def sign_at(self, x: float, y: float) -> str:
        """What is at a pixel; "" for nothing."""
        column, row = math.floor((x - self.x) / self.cell_width), math.floor((y - self.y) / self.cell_height)
        inside = 0 <= row < len(self.cells) and 0 <= column < len(self.cells[0])
        return self.cells[row][column] if inside else ""


@dataclass(frozen=True)
class Label:
    """A word and its box (x0, y0, x1, y1) in pixels."""

    word: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Page:
    """Labels, at least one."""

    labels: tuple[Label, ...]

    def sign_at(self, x: float, y: float) -> str:
        """What is at a pixel; "" for nothing."""
        for label in self.labels:
            x0, y0, x1, y1 = label.box
            if x0 <= x < x1 and y0 - _AROUND <= y < y1 + _AROUND:
                return label.word
        return ""


@dataclass(frozen=True)
class Sheet:
    """An RGB image and what is on it."""

    image: Image.Image
    shown: Grid | Page

    def signs(self, rows: int, columns: int) -> NDArray[np.int64]:
        """(rows, columns) what the middle of each spot shows, as places in SIGNS + 1, 0 for nothing."""
        width, height = self.image.size
        middles = [
            [
                self.shown.sign_at((column + 0.5) * width / columns, (row + 0.5) * height / rows)
                for column in range(columns)
            ]
            for row in range(rows)
        ]
        return np.array([[SIGNS.index(sign) + 1 if sign else 0 for sign in row] for row in middles], np.int64)


def sheet(seed: int, index: int) -> Sheet:
    """Sheet `index` of a series; deterministic. Grids and pages take turns."""
    rng = random.Random(f"{seed} {index}")
    return _grid(rng) if index % 2 == 0 else _page(rng)


def _grid(rng: random.Random) -> Sheet:
    rows, columns = (8, 8) if rng.random() < 0.6 else (rng.randint(3, 8), rng.randint(3, 8))
    margin_x, margin_y = rng.uniform(0, 0.08) * SIDE, rng.uniform(0, 0.08) * SIDE
    width, height = (SIDE - 2 * margin_x) / columns, (SIDE - 2 * margin_y) / rows
    left, top = margin_x * rng.uniform(0, 2), margin_y * rng.uniform(0, 2)
    pale = _color(rng, 120, 255)
    tint = _shaded(pale, rng.uniform(0.4, 0.9)) if rng.random() < 0.75 else pale
    image = Image.new("RGB", (SIDE, SIDE), _color(rng))
    pen = ImageDraw.Draw(image)
    lines = (0, 0, 0) if rng.random() < 0.4 else None
    share, face, size = rng.uniform(0.15, 0.7), rng.choice(_FONTS), int(min(width, height) * rng.uniform(0.6, 0.95))
    light, dark, stroke = _color(rng, 215, 255), _color(rng, 0, 60), rng.choice((1, 1, 2))
    cells: list[tuple[str, ...]] = []
    for row in range(rows):
        signs = []
        for column in range(columns):
            x, y = left + column * width, top + row * height
            pen.rectangle((x, y, x + width, y + height), fill=pale if (row + column) % 2 == 0 else tint, outline=lines)
            signs.append(_letter(rng) if rng.random() < share else "")
        cells.append(tuple(signs))
    for row, signs_of_row in enumerate(cells):
        for column, sign in enumerate(signs_of_row):
            if sign:
                x = left + (column + 0.5 + rng.uniform(-0.06, 0.06)) * width
                y = top + (row + 0.5 + rng.uniform(-0.06, 0.06)) * height
                ink, edge = (light, dark) if sign.isupper() else (dark, light)
                letters = _font(face, size)
                pen.text((x, y), sign.upper(), ink, letters, "mm", stroke_width=stroke, stroke_fill=edge)
    return Sheet(_worn(rng, image), Grid(tuple(cells), left, top, width, height))


def _letter(rng: random.Random) -> str:
    letter = rng.choice(LETTERS)
    return letter if rng.random() < 0.5 else letter.lower()


def _page(rng: random.Random) -> Sheet:
    size = rng.choice(_SIZES)
    image = Image.new("RGB", size, _color(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(0, 3)):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        pen.rectangle((x, y, x + rng.uniform(20, size[0]), y + rng.uniform(10, size[1])), fill=_color(rng))
    face, fill, labels = rng.choice(_FONTS), _color(rng), list[Label]()
    for word in rng.sample(LABELS, rng.randint(2, 7)):
        letters = _font(face, rng.randint(13, 20))
        written = rng.choices((word.capitalize(), word, word.upper()), (14, 3, 3))[0]
        box = _free_box(
            rng, size, letters.getlength(written) + rng.randint(8, 40), letters.size + rng.randint(6, 22), labels
        )
        if box:
            labels.append(Label(word, box))
            _draw_label(rng, pen, written, box, letters, fill if rng.random() < 0.8 else _color(rng))
    return Sheet(_worn(rng, image), Page(tuple(labels)))


def _free_box(
    rng: random.Random, size: tuple[int, int], width: float, height: float, labels: list[Label]
) -> tuple[float, float, float, float] | None:
    for _ in range(30):
        x, y = rng.uniform(2, size[0] - width - 2), rng.uniform(2, size[1] - height - 2)
        box = (x, y, x + width, y + height)
        if all(_apart(box, label.box) for label in labels):
            return box
    return None


def _apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[2] < other[0] - 3 or one[0] > other[2] + 3 or one[3] < other[1] - 3 or one[1] > other[3] + 3


def _draw_label(
    rng: random.Random,
    pen: ImageDraw.ImageDraw,
    written: str,
    box: tuple[float, float, float, float],
    letters: ImageFont.FreeTypeFont,
    fill: Color,
) -> None:
    ink: Color = (0, 0, 0) if 0.3 * fill[0] + 0.6 * fill[1] + 0.1 * fill[2] > 128 else (255, 255, 255)
    if rng.random() < 0.3:  # fainter
        red, green, blue = (int(0.75 * a + 0.25 * b) for a, b in zip(ink, fill, strict=True))
        ink = (red, green, blue)
    outline = _shaded(fill, 0.5) if rng.random() < 0.6 else None
    pen.rounded_rectangle(box, radius=rng.choice((0, 0, 4, 8)), fill=fill, outline=outline)
    pen.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), written, font=letters, fill=ink, anchor="mm")


def _worn(rng: random.Random, image: Image.Image) -> Image.Image:
    """Now and then blurred or noisy, a little lighter or darker."""
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.6)))
    values = np.asarray(image, dtype=np.float32)
    noise = rng.uniform(0, 6)
    if noise > 2:
        grain = np.random.default_rng(rng.randrange(2**31)).standard_normal(values.shape[:2], dtype=np.float32)
        values = values + noise * grain[..., None]
    values = values * rng.uniform(0.85, 1.1) + rng.uniform(-15, 15)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _color(rng: random.Random, low: int = 0, high: int = 255) -> Color:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _shaded(color: Color, factor: float) -> Color:
    red, green, blue = (int(v * factor) for v in color)
    return red, green, blue
