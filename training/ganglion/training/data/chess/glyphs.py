"""Chess pieces drawn from the glyphs of a free font: DejaVu Sans, which comes with matplotlib.

A glyph has two layers: its body, which is the outline filled, and its ink. Each style bends, weights and scales them
otherwise, so that a model does not learn one font by heart; a palette then colors them.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ganglion.core.chess_fen import PIECES

Color = tuple[int, int, int]
STYLES = 48
_SIGNS = dict(zip(PIECES, map(chr, range(0x2654, 0x2660)), strict=True))
_FONT_PIXELS, _ROOM = 144, 160  # a glyph fills two thirds of its em; the room is what is scaled to a square
_CELLS = 4  # of the mesh that bends a glyph, along each side


@dataclass(frozen=True)
class Palette:
    """Colors of the pieces.

    drawn    as in books: white pieces are lines around white; otherwise both sides are filled shapes
    white    of white pieces, and white_lines of the lines in and around them
    black    of black pieces, and black_lines of the lines in them
    outline  around black pieces; None for none. White ones have white_lines around them
    halo     wide and behind all, as where print leaves the hatching out; None for none
    """

    drawn: bool
    white: Color
    white_lines: Color
    black: Color
    black_lines: Color
    outline: Color | None = None
    halo: Color | None = None


@dataclass(frozen=True)
class _Layers:
    """8-bit gray, all of one square size, from the lowest up."""

    halo: Image.Image
    outline: Image.Image
    body: Image.Image
    ink: Image.Image


def glyph_pieces(style: int, palette: Palette, edge: int, letters: Iterable[str] = PIECES) -> dict[str, Image.Image]:
    """Letter of FEN -> RGBA picture for a square of `edge` pixels."""
    return {letter: _colored(style, letter, palette, edge) for letter in letters}


def _colored(style: int, letter: str, palette: Palette, edge: int) -> Image.Image:
    white = letter.isupper()
    outlined = white and palette.drawn  # the ink of such a glyph is its lines; that of any other its shape
    layers = _layers(style, letter if outlined else letter.lower(), edge)
    fill, lines = (palette.white, palette.white_lines) if white else (palette.black, palette.black_lines)
    around = None if outlined else palette.white_lines if white else palette.outline
    picture = Image.new("RGBA", (edge, edge), (*(palette.halo or around or lines), 0))
    if palette.halo:
        picture.putalpha(layers.halo)
    if around:
        picture.paste((*around, 255), mask=layers.outline)
    picture.paste((*(fill if outlined else lines), 255), mask=layers.body)
    picture.paste((*(lines if outlined else fill), 255), mask=layers.ink)
    return picture


@functools.lru_cache(maxsize=2 * STYLES * len(PIECES))
def _layers(style: int, letter: str, edge: int) -> _Layers:
    """The layers of a glyph in one of the STYLES: bent, weighted and scaled as the style has it."""
    rng = random.Random(f"style {style}")
    weight, rim, scale = rng.uniform(0.4, 2.4), rng.uniform(1.5, 4), rng.uniform(0.88, 1.2)
    lean = rng.uniform(-0.04, 0.04)
    bent = [_bent(layer, f"{style} {letter.lower()}", scale, lean) for layer in _glyph(letter)]
    body, ink = bent[0], _grown(bent[1], weight) if letter.isupper() else bent[1]
    layers = _grown(body, 7 + rim), _grown(body, rim), body, ink
    return _Layers(*(layer.resize((edge, edge), Image.Resampling.LANCZOS) for layer in layers))


def _bent(layer: Image.Image, key: str, scale: float, lean: float) -> Image.Image:
    """The layer through a mesh whose corners are moved; black and white pieces of a kind are bent alike."""
    rng = random.Random(key)
    wide, high = scale * rng.uniform(0.9, 1.1), scale * rng.uniform(0.92, 1.08)
    step, middle = _ROOM // _CELLS, _ROOM / 2
    corners = {}
    for x in range(0, _ROOM + 1, step):
        for y in range(0, _ROOM + 1, step):
            across, down = (x - middle) / wide, (y - middle) / high
            corners[x, y] = middle + across + lean * down + rng.uniform(-4, 4), middle + down + rng.uniform(-3, 3)
    mesh = []
    for x in range(0, _ROOM, step):
        for y in range(0, _ROOM, step):
            quad = [corners[x, y], corners[x, y + step], corners[x + step, y + step], corners[x + step, y]]
            mesh.append(((x, y, x + step, y + step), tuple(value for corner in quad for value in corner)))
    return layer.transform(layer.size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC)


def _grown(layer: Image.Image, pixels: float) -> Image.Image:
    """The shape, larger by about `pixels` on every side."""
    if pixels < 0.5:
        return layer
    blurred = layer.filter(ImageFilter.GaussianBlur(pixels))
    return blurred.point([min(255, max(0, (value - 30) * 9)) for value in range(256)])


@functools.cache
def _glyph(letter: str) -> tuple[Image.Image, Image.Image]:
    """Body and ink of the font's own glyph."""
    ink = Image.new("L", (_ROOM, _ROOM))
    ImageDraw.Draw(ink).text((_ROOM / 2, _ROOM / 2), _SIGNS[letter], fill=255, font=_font(), anchor="mm")
    outside = ink.point([255 if value > 64 else 0 for value in range(256)])
    ImageDraw.floodfill(outside, (0, 0), 128)
    inside = outside.point([0 if value == 128 else 255 for value in range(256)])
    return inside.filter(ImageFilter.GaussianBlur(0.6)), ink


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", _FONT_PIXELS)
