"""Draw a chess board: squares, marks, frame, coordinates and pieces, as a Look has them, on a page larger than it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganglion.core.chess_fen import SQUARES
from ganglion.training.data.chess.glyphs import Color
from ganglion.training.data.chess.look import INSIDE, OUTSIDE, Look

AROUND = 1  # squares of page around the board
Pictures = Mapping[str, Image.Image]


def draw_board(
    shown: Mapping[str, str], view: str, look: Look, pictures: Pictures, edge: int, rng: np.random.Generator
) -> Image.Image:
    """RGB, 8 + 2 * AROUND squares of `edge` pixels wide and high.

    Args:
        shown: pieces by place in the picture, where a8 means the upper left square.
        view: whose side is below, for the coordinates.
        look: colors and all.
        pictures: of the pieces, RGBA.
        edge: of a square, in pixels.
        rng: for what differs from piece to piece.
    """
    start, end = AROUND * edge, (AROUND + 8) * edge
    canvas = Image.new("RGB", (end + start, end + start), look.page)
    draw = ImageDraw.Draw(canvas)
    if look.frame:
        width = max(1, round(look.frame * edge))
        draw.rectangle((start - width, start - width, end + width - 1, end + width - 1), fill=look.frame_color)
    draw.rectangle((start, start, end - 1, end - 1), fill=look.light)
    _draw_dark_squares(canvas, draw, look, edge)
    if look.mark:
        _draw_marks(draw, shown, look, edge, rng)
    if look.coordinates:
        _draw_coordinates(draw, view, look, edge)
    _draw_pieces(canvas, shown, pictures, edge, rng)
    return canvas


def _corner(place: int, edge: int) -> tuple[int, int]:
    row, column = divmod(place, 8)
    return (AROUND + column) * edge, (AROUND + row) * edge


def _is_dark(place: int) -> bool:
    return (place // 8 + place % 8) % 2 == 1


def _draw_dark_squares(canvas: Image.Image, draw: ImageDraw.ImageDraw, look: Look, edge: int) -> None:
    tile = _textured(look.texture, look.pitch, edge, look.light, look.dark) if look.texture else None
    for place in filter(_is_dark, range(64)):
        x, y = _corner(place, edge)
        if tile:
            canvas.paste(tile, (x, y))
        else:
            draw.rectangle((x, y, x + edge - 1, y + edge - 1), fill=look.dark)


def _textured(texture: str, pitch: int, edge: int, light: Color, dark: Color) -> Image.Image:
    """One square, hatched or dotted in `dark` on `light`."""
    x, y = np.meshgrid(np.arange(edge), np.arange(edge))
    period = edge / pitch
    ink = (x + y) % period < 0.35 * period
    if texture == "crossed":
        ink |= (x - y) % period < 0.35 * period
    elif texture == "dots":
        ink = (np.sin(2 * np.pi * (x + y) / period) + np.sin(2 * np.pi * (x - y) / period)) > 0.1
    return Image.fromarray(np.where(ink[..., None], np.array(dark, np.uint8), np.array(light, np.uint8)))


def _draw_marks(
    draw: ImageDraw.ImageDraw, shown: Mapping[str, str], look: Look, edge: int, rng: np.random.Generator
) -> None:
    """The last move, as far as a position knows it: a piece, and an empty square that it might have come from."""
    assert look.mark is not None
    color, share = look.mark
    held = [place for place, square in enumerate(SQUARES) if square in shown]
    empty = [place for place, square in enumerate(SQUARES) if square not in shown]
    for places in (held, empty):
        if not places:
            continue
        place = places[int(rng.integers(len(places)))]
        x, y = _corner(place, edge)
        under = look.dark if _is_dark(place) else look.light
        fill = tuple(round(share * new + (1 - share) * old) for new, old in zip(color, under, strict=True))
        draw.rectangle((x, y, x + edge - 1, y + edge - 1), fill=fill)


def _draw_coordinates(draw: ImageDraw.ImageDraw, view: str, look: Look, edge: int) -> None:
    files, ranks = ("abcdefgh", "87654321") if view == "white" else ("hgfedcba", "12345678")
    font = _font(look.bold, max(6, round(look.font_size * edge)))
    for k in range(8):
        if look.coordinates == OUTSIDE:
            ground = look.frame_color if look.frame > 0.2 else look.page
            gap = look.frame / 2 if look.frame > 0.2 else look.frame + 0.3
            middle, low, left = (AROUND + k + 0.5) * edge, (AROUND + 8 + gap) * edge, (AROUND - gap) * edge
            draw.text((middle, low), files[k], font=font, fill=_readable(ground), anchor="mm")
            draw.text((left, middle), ranks[k], font=font, fill=_readable(ground), anchor="mm")
        elif look.coordinates == INSIDE:
            _write_inside(draw, 56 + k, files[k], (look.corner, True), look, font, edge)
            _write_inside(draw, 8 * k + (0 if look.corner else 7), ranks[k], (not look.corner, False), look, font, edge)


def _write_inside(
    draw: ImageDraw.ImageDraw,
    place: int,
    sign: str,
    right_low: tuple[bool, bool],
    look: Look,
    font: ImageFont.FreeTypeFont,
    edge: int,
) -> None:
    """In a corner of a square, in the color of the other squares."""
    x, y = _corner(place, edge)
    right, low = right_low
    at = x + (edge * 0.94 if right else edge * 0.06), y + (edge * 0.96 if low else edge * 0.04)
    fill = look.light if _is_dark(place) and not look.texture else _readable(look.light) if look.texture else look.dark
    draw.text(at, sign, font=font, fill=fill, anchor=("r" if right else "l") + ("d" if low else "a"))


def _readable(ground: Color) -> Color:
    return (20, 20, 20) if sum(ground) > 360 else (235, 235, 235)


def _draw_pieces(
    canvas: Image.Image, shown: Mapping[str, str], pictures: Pictures, edge: int, rng: np.random.Generator
) -> None:
    offsets = rng.normal(0, 0.012 * edge, (64, 2)).round().astype(int)
    for place, square in enumerate(SQUARES):
        if square in shown:
            picture = pictures[shown[square]]
            x, y = _corner(place, edge)
            room, (across, down) = edge - picture.width, offsets[place]
            canvas.paste(picture, (x + room // 2 + across, y + room // 2 + down), picture)


@functools.lru_cache(maxsize=64)
def _font(bold: bool, pixels: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / name, pixels)
