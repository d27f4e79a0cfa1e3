"""How the boards of pictures look: themes of sites and apps, book diagrams, frames, coordinates, marked squares.

One Look is drawn for each picture; nothing in it tells what stands on the board.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from ganglion.training.data.chess.glyphs import STYLES, Color, Palette

INSIDE, OUTSIDE = "inside", "outside"
_THEMES: tuple[tuple[Color, Color], ...] = (  # light squares, dark squares
    ((240, 217, 181), (181, 136, 99)),
    ((235, 236, 208), (115, 149, 82)),
    ((222, 227, 230), (140, 162, 173)),
    ((255, 255, 221), (134, 166, 102)),
    ((237, 231, 246), (146, 120, 178)),
    ((236, 236, 236), (158, 158, 158)),
    ((232, 235, 239), (125, 135, 150)),
    ((245, 222, 179), (160, 110, 60)),
    ((230, 200, 160), (120, 72, 40)),
    ((255, 255, 255), (190, 190, 190)),
)
_MARKS: tuple[tuple[Color, float], ...] = (  # color and share of it
    ((155, 199, 0), 0.41),
    ((255, 255, 51), 0.5),
    ((235, 97, 80), 0.6),
    ((0, 120, 200), 0.4),
    ((255, 170, 0), 0.5),
)
_TEXTURES = ("lines", "lines", "lines", "crossed", "dots")


@dataclass(frozen=True)
class Look:
    """Lengths are in squares.

    style, palette  of glyph pieces; scale is how large pieces of an SVG set are drawn
    light, dark     colors of the squares; dark squares are in `light` with this texture in `dark`, where there is one
    pitch           of the texture: its lines per square
    page            what is around the board
    frame           width of a frame around the board, 0 for none; frame_color
    coordinates     None, or where they are printed; font_size, and whether they are in bold
    corner          for coordinates inside: True for files at the right, ranks at the left of a square, else the reverse
    mark            color of marked squares and its share, None for none
    """

    style: int
    palette: Palette
    scale: float
    light: Color
    dark: Color
    texture: str | None
    pitch: int
    page: Color
    frame: float
    frame_color: Color
    coordinates: str | None
    font_size: float
    bold: bool
    corner: bool
    mark: tuple[Color, float] | None


def random_look(rng: np.random.Generator, coordinates: bool) -> Look:
    """A look as it may be; where `coordinates`, they are printed."""
    book = rng.random() < 0.3
    light, dark = _book_colors(rng) if book else _screen_colors(rng)
    texture = _TEXTURES[rng.integers(len(_TEXTURES))] if book and rng.random() < 0.7 else None
    framed = rng.random() < (0.6 if book else 0.25)
    thick = framed and not book and rng.random() < 0.5
    return Look(
        style=int(rng.integers(STYLES)),
        palette=_drawn_palette(rng, texture is not None) if book or rng.random() < 0.45 else _filled_palette(rng),
        scale=float(rng.choice((0.85, 0.92, 1.0, 1.0))),
        light=light,
        dark=(int(rng.integers(70)),) * 3 if texture else dark,
        texture=texture,
        pitch=int(rng.integers(6, 13)),
        page=_gray(rng, 225, 256) if book or rng.random() < 0.4 else _any_color(rng, 0.05, 0.95),
        frame=0.0 if not framed else float(rng.uniform(0.25, 0.7) if thick else rng.uniform(0.03, 0.1)),
        frame_color=_gray(rng, 0, 60) if book or not thick else _any_color(rng, 0.1, 0.6),
        coordinates=None if not coordinates else OUTSIDE if book or rng.random() < 0.4 else INSIDE,
        font_size=float(rng.uniform(0.22, 0.36)),
        bold=bool(rng.random() < 0.5),
        corner=bool(rng.random() < 0.5),
        mark=_MARKS[rng.integers(len(_MARKS))] if not book and rng.random() < 0.35 else None,
    )


def _book_colors(rng: np.random.Generator) -> tuple[Color, Color]:
    paper, tint = int(rng.integers(228, 256)), int(rng.integers(0, 24))
    dark = int(rng.integers(120, 205))
    return (paper, paper - tint // 3, paper - tint), (dark, dark - tint // 3, dark - tint)


def _screen_colors(rng: np.random.Generator) -> tuple[Color, Color]:
    if rng.random() < 0.6:
        light, dark = _THEMES[rng.integers(len(_THEMES))]
        return _moved(rng, light, 10), _moved(rng, dark, 10)
    hue, other = rng.random(), rng.random()
    lightness = rng.uniform(0.75, 0.97)
    return (
        _from_hls(hue, lightness, rng.uniform(0, 0.5)),
        _from_hls(hue if rng.random() < 0.7 else other, lightness - rng.uniform(0.18, 0.45), rng.uniform(0, 0.5)),
    )


def _drawn_palette(rng: np.random.Generator, haloed: bool) -> Palette:
    white, black = _gray(rng, 235, 256), _gray(rng, 0, 50)
    lit = _gray(rng, 200, 256)
    halo = white if haloed and rng.random() < 0.7 else None
    outline = lit if rng.random() < 0.25 else black if rng.random() < 0.5 else None
    return Palette(True, white, black, black, lit, outline, halo)


def _filled_palette(rng: np.random.Generator) -> Palette:
    if rng.random() < 0.75:
        white, black = _gray(rng, 225, 256), _gray(rng, 15, 90)
    else:
        white, black = _any_color(rng, 0.85, 0.97), _any_color(rng, 0.08, 0.27)
    around = _gray(rng, 0, 80)
    details = black if rng.random() < 0.2 else _gray(rng, 120, 256)
    outline = _gray(rng, 0, 40) if rng.random() < 0.6 else _gray(rng, 170, 256) if rng.random() < 0.4 else None
    return Palette(False, white, around, black, details, outline)


def _gray(rng: np.random.Generator, low: int, high: int) -> Color:
    """Nearly gray, brightness from low up to and without high."""
    level = int(rng.integers(low, high))
    return _moved(rng, (level, level, level), 4)


def _any_color(rng: np.random.Generator, low: float, high: float) -> Color:
    return _from_hls(rng.random(), rng.uniform(low, high), rng.uniform(0, 0.6))


def _moved(rng: np.random.Generator, color: Color, most: int) -> Color:
    """Each channel moved by up to `most`."""
    moves = rng.integers(-most, most + 1, 3)
    red, green, blue = (min(255, max(0, level + int(move))) for level, move in zip(color, moves, strict=True))
    return red, green, blue


def _from_hls(hue: float, lightness: float, saturation: float) -> Color:
    red, green, blue = (round(255 * value) for value in colorsys.hls_to_rgb(hue, lightness, saturation))
    return red, green, blue
