"""Sheets for the pretext training of the finer base: grids of letters, and badges strewn over a page.

What a vision tower learns from them is to tell small signs apart and to say where they are. Fonts are DejaVu, as they
come with matplotlib. Colors, sizes, margins and wear are random.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ganglion.model.offline.canvas import Color
from ganglion.model.offline.icons import COLORS, ICONS
from ganglion.model.offline.signs import LETTERS, SIDE, Badge, Box, Grid, Page, Shown

# Common words that stand beside badges; none of them is on a screen of a task (tests/model/test_offline_sheets.py).
LABELS = (
    *("along", "way", "first", "who", "long", "come", "only", "place", "most", "man", "where", "any"),
    *("follow", "also", "small", "does", "because", "ask", "home", "hand", "animal", "letter", "study", "world"),
    *("school", "never", "eye", "late", "always", "night", "took", "face", "family", "fish", "bird", "usually"),
    *("ship", "water", "house", "table"),
)
_SIZES = ((256, 256), (256, 256), (288, 224), (224, 288), (320, 192))
_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf")


@dataclass(frozen=True)
class Sheet:
    """An RGB image and what is on it."""

    image: Image.Image
    shown: Shown


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
    for _ in range(rng.randint(0, 4)):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        pen.rectangle((x, y, x + rng.uniform(20, size[0]), y + rng.uniform(10, size[1])), fill=_color(rng))
    badges = tuple(_strewn(rng, pen, size))
    return Sheet(_worn(rng, image), Page(badges, size))


def _strewn(rng: random.Random, pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> Iterator[Badge]:
    """Badges drawn where there is room, on most pages with a word beside each."""
    face, radius, usual_side = rng.choice(_FONTS), rng.uniform(0, 0.3), rng.uniform(20, 27)
    labeled, usual_fill = rng.random() < 0.7, _color(rng)
    taken: dict[str, Box] = {}
    for _ in range(rng.randint(2, 14)):
        side, word, letters = usual_side * rng.uniform(0.95, 1.05), rng.choice(LABELS), _font(face, rng.randint(12, 18))
        text_width = letters.getlength(word) if labeled else 0
        badge = Badge(rng.choice([*ICONS]), (0, 0, side, side))
        box = _free_box(rng, size, side + 8 + text_width, side + 6, [*taken.values()])
        if badge.name in taken or not box:
            continue
        x, y = box[0] + 3, box[1] + 3
        if labeled:
            fill = usual_fill if rng.random() < 0.7 else _color(rng)
            pen.rounded_rectangle(box, radius=rng.choice((0, 4, 8)), fill=fill)
            ink = (0, 0, 0) if sum(fill) > 380 else (255, 255, 255)
            pen.text((x + side + 3, y + side / 2), word, font=letters, fill=ink, anchor="lm")
        placed = replace(badge, box=(x, y, x + side, y + side))
        _draw_badge(rng, pen, placed, radius * side)
        taken[badge.name] = box
        yield placed


def _draw_badge(rng: random.Random, pen: ImageDraw.ImageDraw, badge: Badge, radius: float) -> None:
    x0, y0, x1, y1 = badge.box
    icon = ICONS[badge.name]
    red, green, blue = (min(255, max(0, value + rng.randint(-15, 15))) for value in COLORS[icon.color])
    fill = (red, green, blue)
    pen.rounded_rectangle(badge.box, radius=radius, fill=fill, outline=_shaded(fill, 0.5))
    ink = _color(rng, 225, 255) if icon.shade == "pale" else _color(rng, 0, 40)
    x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) * rng.uniform(0.26, 0.31)
    if icon.glyph == "disc":
        pen.ellipse((x - half, y - half, x + half, y + half), fill=ink)
    elif icon.glyph == "bar":
        pen.rectangle((x - 1.1 * half, y - 0.45 * half, x + 1.1 * half, y + 0.45 * half), fill=ink)
    else:
        pen.rectangle((x - 0.45 * half, y - 1.1 * half, x + 0.45 * half, y + 1.1 * half), fill=ink)


def _free_box(rng: random.Random, size: tuple[int, int], width: float, height: float, taken: list[Box]) -> Box | None:
    for _ in range(30):
        x, y = rng.uniform(2, size[0] - width - 2), rng.uniform(2, size[1] - height - 2)
        box = (x, y, x + width, y + height)
        if all(_apart(box, other) for other in taken):
            return box
    return None


def _apart(one: Box, other: Box) -> bool:
    return one[2] < other[0] - 3 or one[0] > other[2] + 3 or one[3] < other[1] - 3 or one[1] > other[3] + 3


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
