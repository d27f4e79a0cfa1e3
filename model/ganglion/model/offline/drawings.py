"""Generic drawings for the pretext training: strips, marks and stripes, with everything about them known.

Plain two-dimensional geometry in random colors: there is no camera, no ground and no sky in it. A strip is a stack of
trapezoids that narrows toward a dividing line, plain or barred, for that is what makes a vision tower read tilts,
spacings and widths; marks make it read positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganglion.model.offline.canvas import CELL, REGIONS, SCALE, SIDE, Canvas, Color, Point, exposed

COLORS: dict[str, Color] = {
    "red": (210, 45, 40),
    "green": (45, 165, 65),
    "blue": (55, 75, 215),
    "yellow": (230, 205, 50),
    "white": (240, 240, 240),
    "black": (25, 25, 25),
}
SHAPES = ("disc", "square", "triangle", "cross")
FILLS = ("plain", "lines", "blocks")
# What a drawing may be measured by; fractions of the side, y from the top. A drawing has the ones that apply to it.
MEASURES = (
    "split_y",
    "split_tilt",
    "width_near",
    "width_bend",
    "width_end",
    "width_tip",
    "bend_y",
    "end_y",
    "tip_y",
    "tip_rise",
    "blunt",
    "center",
    "bars",
    "ratio",
    "lines",
    "blocks",
    "mark_x",
    "mark_y",
    "mark_size",
    "stripe_cos",
    "stripe_sin",
    "stripe_period",
)


@dataclass(frozen=True)
class Mark:
    """One shape: its center as fractions of the side, from the left and from the top."""

    shape: str
    color: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """An image (SIDE, SIDE) RGB and what is in it.

    regions   (SIDE // CELL, SIDE // CELL) uint8, index into REGIONS
    kind      "strip", "marks" or "stripes"
    measures  name in MEASURES -> value, of order one
    marks     shapes, left to right, where kind is "marks"
    """

    image: Image.Image
    regions: NDArray[np.uint8]
    kind: str
    measures: dict[str, float]
    marks: tuple[Mark, ...] = field(default=())


def draw(seed: int, index: int) -> Drawing:
    """Drawing `index` of a series; deterministic. Three in five are strips, the others marks or stripes."""
    rng = np.random.default_rng([seed, index])
    kind = ("strip", "marks", "strip", "stripes", "strip", "marks")[index % 6]
    return {"strip": _strip, "marks": _marks, "stripes": _stripes}[kind](rng)


def _strip(rng: np.random.Generator) -> Drawing:
    """Two-tone background; on it a strip of three trapezoids from the lower edge to a tip, the middle one barred."""
    split, tilt = rng.uniform(0.12, 0.55), rng.uniform(-0.07, 0.07)
    back, front, body = _tones(rng)
    pen = Canvas(back, "upper")
    pen.polygon([(0, split - tilt / 2), (1, split + tilt / 2), (1, 1), (0, 1)], front, "lower")
    _specks(rng, pen, split)

    ys = _heights(rng, split)
    near, bend, end, tip_start, tip = _half_widths(rng, ys)
    center, lean = rng.uniform(0.35, 0.65), rng.uniform(-0.12, 0.12)

    def across(y: float, half: float) -> tuple[Point, Point]:
        middle = center + lean * (1 - y)
        return (middle - half, y + tilt * (middle - half - 0.5)), (middle + half, y + tilt * (middle + half - 0.5))

    def piece(y0: float, half0: float, y1: float, half1: float, color: Color, region: str = "strip") -> None:
        pen.polygon([*across(y0, half0), *reversed(across(y1, half1))], color, region)

    if rng.random() < 0.6:  # wings: a wider piece behind the strip
        grow, shade = rng.uniform(1.2, 3.0), _shaded(front, rng.uniform(0.6, 1.1))
        piece(1, near * grow, ys[0], bend * grow, shade, "wing")
        piece(ys[0], bend * grow, ys[1], end * grow, _shaded(shade, rng.uniform(0.7, 1.1)), "wing")
    piece(ys[1], tip_start, ys[2], tip, _shaded(body, rng.uniform(0.85, 1.1)))
    piece(1, near, ys[0], bend, body)
    piece(ys[0], bend, ys[1], end, _shaded(body, rng.uniform(0.9, 1.1)))

    fill, bars = str(rng.choice(FILLS)), int(rng.integers(3, 12))
    ratio = rng.uniform(0.72, 1.05)
    if fill != "plain":
        edges = np.cumsum([0, *np.power(ratio, np.arange(bars))])
        at = ys[0] + (ys[1] - ys[0]) * edges / edges[-1]
        halves = bend + (end - bend) * edges / edges[-1]
        dark = _shaded(body, rng.uniform(0.4, 0.72)) if rng.random() < 0.8 else _color(rng)
        share = rng.uniform(0.3, 0.6)
        for k in range(bars):
            if fill == "blocks":
                upper = at[k] + share * (at[k + 1] - at[k])
                piece(at[k], halves[k], upper, halves[k] + share * (halves[k + 1] - halves[k]), dark, "bar")
            else:
                pen.line(list(across(at[k], halves[k])), dark, int(rng.integers(1, 4)))
    if rng.random() < 0.35:  # cords along both borders
        color, out, width = _color(rng), rng.uniform(0.0, 0.12), int(rng.integers(2, 6))
        for s in (0, 1):
            cord = [across(y, half + out)[s] for y, half in ((1, near), (ys[0], bend), (ys[1], end))]
            lift = rng.uniform(0, 0.3)
            pen.line([(x, y - lift * y) for x, y in cord], color, width)
    measures = {
        "split_y": split,
        "split_tilt": tilt * 5,
        "width_near": near,
        "width_bend": bend,
        "width_end": end,
        "width_tip": tip,
        "bend_y": ys[0],
        "end_y": ys[1],
        "tip_y": ys[2],
        "tip_rise": 5 * float(np.clip(split - ys[2], -0.2, 0.2)),
        "blunt": 2 * min(tip / near, 0.5),
        "center": center,
        "lines": float(fill == "lines"),
        "blocks": float(fill == "blocks"),
    }
    if fill != "plain":
        measures |= {"bars": bars / 10, "ratio": ratio}
    return Drawing(*pen.finished(rng), "strip", measures)


def _heights(rng: np.random.Generator, split: float) -> tuple[float, float, float]:
    """Heights of bend, end and tip, from low to high; the tip lies at the dividing line, above it or below it."""
    bend = rng.uniform(0.6, 0.92)
    off = rng.choice([0.0, 0.0, rng.uniform(-0.15, -0.03), rng.uniform(-0.5, -0.1), rng.uniform(0.05, 0.3)])
    tip = float(np.clip(split + off, -0.05, bend - 0.1))
    end = tip + (bend - tip) * float(rng.choice([0.02, rng.uniform(0.05, 0.9)]))
    return bend, end, tip


def _half_widths(rng: np.random.Generator, ys: tuple[float, float, float]) -> tuple[float, float, float, float, float]:
    """Half widths near, at bend, at end (of the middle and of the last trapezoid), and at the tip."""
    near = rng.uniform(0.25, 0.75)
    tip = near * float(rng.choice([rng.uniform(0.0, 0.06), rng.uniform(0.06, 0.35), rng.uniform(0.3, 0.9)]))
    if rng.random() < 0.5:  # straight borders
        bend, end = (near + (tip - near) * (1 - y) / (1 - ys[2]) for y in ys[:2])
        return near, bend, end, end, tip
    bend = tip + (near - tip) * rng.uniform(0.4, 1.0)
    end = tip + (bend - tip) * rng.uniform(0.0, 1.0)
    return near, bend, end, tip + (end - tip) * rng.uniform(0.0, 1.0), tip


def _marks(rng: np.random.Generator) -> Drawing:
    """One to three colored shapes on a plain or two-tone background."""
    pen = Canvas(_color(rng), "upper")
    if rng.random() < 0.5:
        split = rng.uniform(0.2, 0.8)
        pen.polygon([(0, split), (1, split), (1, 1), (0, 1)], _color(rng), "lower")
    marks: list[Mark] = []
    count, size = int(rng.choice([1, 1, 2, 3])), rng.uniform(0.05, 0.13)
    while len(marks) < count:
        x, y = rng.uniform(0.1, 0.9, 2)
        if all(math.hypot(x - other.x, y - other.y) > 2.2 * size for other in marks):
            marks.append(Mark(str(rng.choice(SHAPES)), str(rng.choice(list(COLORS))), float(x), float(y)))
    for mark in marks:
        _shape(rng, pen, mark, size)
    marks.sort(key=lambda mark: mark.x)
    measures = {"mark_size": size * 5}
    if count == 1:
        measures |= {"mark_x": marks[0].x, "mark_y": marks[0].y}
    return Drawing(*pen.finished(rng), "marks", measures, tuple(marks))


def _shape(rng: np.random.Generator, pen: Canvas, mark: Mark, r: float) -> None:
    x, y = mark.x, mark.y
    red, green, blue = (int(v) for v in np.add(COLORS[mark.color], rng.integers(-14, 15, 3)))
    color = (red, green, blue)
    if mark.shape == "disc":
        pen.ellipse((x, y), (r, r), color, "mark")
    elif mark.shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], color, "mark")
    else:
        for rx, ry in ((r, r),) if mark.shape == "square" else ((r, r / 3), (r / 3, r)):
            pen.polygon([(x - rx, y - ry), (x + rx, y - ry), (x + rx, y + ry), (x - rx, y + ry)], color, "mark")


def _stripes(rng: np.random.Generator) -> Drawing:
    """Parallel stripes of two colors over the whole image, at any angle."""
    angle, period = rng.uniform(-math.pi / 2, math.pi / 2), rng.uniform(0.06, 0.3)
    y, x = np.mgrid[0 : SIDE * SCALE, 0 : SIDE * SCALE] / (SIDE * SCALE)
    wave = np.sin(2 * math.pi * ((x * math.sin(angle) + y * math.cos(angle)) / period + rng.uniform()))
    one, other = np.array(_color(rng)), np.array(_color(rng))
    pixels = np.where(wave[..., None] > rng.uniform(-0.5, 0.5), one, other)
    measures = {
        "stripe_cos": math.cos(2 * angle),
        "stripe_sin": math.sin(2 * angle),
        "stripe_period": period * 4,
    }
    regions = np.full((SIDE // CELL, SIDE // CELL), REGIONS.index("stripe"), np.uint8)
    return Drawing(exposed(rng, Image.fromarray(pixels.astype(np.uint8))), regions, "stripes", measures)


def _specks(rng: np.random.Generator, pen: Canvas, split: float) -> None:
    """Small boxes and dots near the dividing line, which mean nothing."""
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, 1), split + rng.uniform(-0.15, 0.3)
        w, h = rng.uniform(0.01, 0.06, 2)
        if rng.random() < 0.5:
            pen.ellipse((x, y), (w, h), _color(rng), None)
        else:
            pen.line([(x, y - h), (x, y + h)], _color(rng), max(1, round(2 * w * SIDE)))


def _color(rng: np.random.Generator) -> Color:
    red, green, blue = (int(v) for v in rng.integers(35, 235, 3))
    return red, green, blue


def _tones(rng: np.random.Generator) -> tuple[Color, Color, Color]:
    """Colors of upper part, lower part and strip: mostly light, dark and middling, now and then just any."""
    if rng.random() < 0.25:
        return _color(rng), _color(rng), _color(rng)
    return _tinted(rng, rng.uniform(150, 225)), _tinted(rng, rng.uniform(55, 125)), _tinted(rng, rng.uniform(115, 205))


def _tinted(rng: np.random.Generator, gray: float) -> Color:
    red, green, blue = (int(v) for v in (gray + rng.uniform(-30, 30, 3)).clip(0, 255))
    return red, green, blue


def _shaded(color: Color, factor: float) -> Color:
    red, green, blue = (int(min(max(v * factor, 0), 255)) for v in color)
    return red, green, blue
