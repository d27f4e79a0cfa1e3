"""One picture of a chess board, and what its row says of it: the side below, and whether coordinates are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ganglion.core.chess_fen import turned
from ganglion.core.tasks.chess_schema import VIEWS
from ganglion.training.data.chess.glyphs import glyph_pieces
from ganglion.training.data.chess.look import random_look
from ganglion.training.data.chess.render import draw_board
from ganglion.training.data.chess.svg import svg_pieces
from ganglion.training.data.chess.wear import cut_out, random_crop, whole_board, worn

DEFAULT_SIZE = 256
_TELLING_RANKS = 2.0  # by so many ranks white's pieces must on average be below black's, to tell whose side is where


@dataclass(frozen=True)
class Scene:
    """view: "white" or "black", whose side is below. coordinates: whether files and ranks are printed."""

    view: str
    coordinates: bool


def scene(seed: int, index: int, pieces: Mapping[str, str], flip_share: float) -> Scene:
    """How picture `index` of data set `seed` shows its position.

    A board seen by black has coordinates with a probability of 0.7, and always where its pieces don't tell the side;
    one seen by white has them with 0.5.
    """
    rng = np.random.default_rng([seed, index, 0])
    flipped = rng.random() < flip_share
    coordinates = rng.random() < (0.7 if flipped else 0.5) or (flipped and not _tells_side(pieces))
    return Scene(VIEWS[flipped], bool(coordinates))


def _tells_side(pieces: Mapping[str, str]) -> bool:
    white, black = ([int(s[1]) for s, p in pieces.items() if p.isupper() == side] for side in (True, False))
    return bool(white and black) and sum(black) / len(black) - sum(white) / len(white) >= _TELLING_RANKS


def render_board(
    pieces: Mapping[str, str],
    seen: Scene,
    seed: int,
    index: int,
    size: int = DEFAULT_SIZE,
    *,
    clean: bool = False,
    piece_sets: Sequence[Path] = (),
) -> tuple[Image.Image, int]:
    """An RGB picture (size, size), and the JPEG quality to save it with.

    Args:
        pieces: square -> letter of FEN.
        seen: the side below, and whether coordinates are printed.
        seed: names the data set.
        index: names the picture in it.
        size: edge in pixels.
        clean: without crop, tilt, noise and blur.
        piece_sets: folders of SVG files, of which one is taken; without any, pieces are glyphs.
    """
    rng = np.random.default_rng([seed, index, 1])
    look = random_look(rng, seen.coordinates)
    edge = max(8, round(2 * size / 8))
    if piece_sets:
        chosen = piece_sets[int(rng.integers(len(piece_sets)))]
        pictures = svg_pieces(chosen, round(look.scale * edge))
    else:
        pictures = glyph_pieces(look.style, look.palette, edge, sorted(set(pieces.values())))
    shown = pieces if seen.view == VIEWS[0] else turned(pieces)
    canvas = draw_board(shown, seen.view, look, pictures, edge, rng)
    if clean:
        return cut_out(canvas, whole_board(look), edge, size, look.page), 95
    image = cut_out(canvas, random_crop(rng, look), edge, size, look.page)
    return worn(rng, image), int(rng.integers(55, 96))
