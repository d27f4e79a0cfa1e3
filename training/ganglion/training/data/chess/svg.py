"""Chess pieces from SVG files: folders with wK.svg, wQ.svg ... bP.svg, as chess programs keep their piece sets."""

from __future__ import annotations

import functools
import io
from pathlib import Path

from PIL import Image

from ganglion.core.chess_fen import PIECES
from ganglion.core.errors import InputError

_DRAWN_PIXELS = 192


def piece_sets(folder: Path) -> list[Path]:
    """The piece set in the folder, or those in its subfolders, sorted; each is drawn once, so that a bad file shows.

    Raises:
        InputError: there is none, a piece is missing, or a file is no SVG.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, remedy="correct --piece_set")
    found = [sub for sub in (folder, *sorted(folder.iterdir())) if sub.is_dir() and any(sub.glob("[wb][KQRBNP].svg"))]
    if not found:
        raise InputError("holds no piece set", where=folder, remedy="give a folder with wK.svg, wQ.svg ... bP.svg")
    for piece_set in found:
        for letter in PIECES:
            _drawn(piece_set / _file_name(letter))
    return found


def svg_pieces(piece_set: Path, edge: int) -> dict[str, Image.Image]:
    """Letter of FEN -> RGBA picture, `edge` pixels square.

    Raises:
        InputError: a piece is missing, or its file is no SVG.
    """
    return {letter: _scaled(piece_set / _file_name(letter), edge) for letter in PIECES}


def _file_name(letter: str) -> str:
    return f"{'w' if letter.isupper() else 'b'}{letter.upper()}.svg"


@functools.lru_cache(maxsize=2048)
def _scaled(path: Path, edge: int) -> Image.Image:
    return _drawn(path).resize((edge, edge), Image.Resampling.LANCZOS)


@functools.cache
def _drawn(path: Path) -> Image.Image:
    """In the middle of a transparent square."""
    import resvg_py

    if not path.is_file():
        raise InputError("no such file", where=path, remedy="a piece set has wK.svg, wQ.svg ... bP.svg")
    try:
        # Without a resolution, a size in points is none.
        png = resvg_py.svg_to_bytes(svg_path=str(path), width=_DRAWN_PIXELS, height=_DRAWN_PIXELS, dpi=96)
        made = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't be drawn ({reason:.120})", where=path, remedy="replace the SVG file") from None
    if made.getchannel("A").getbbox() is None:
        raise InputError("draws nothing", where=path, remedy="replace the SVG file")
    square = Image.new("RGBA", (max(made.size),) * 2)
    square.paste(made, ((square.width - made.width) // 2, (square.height - made.height) // 2))
    return square
