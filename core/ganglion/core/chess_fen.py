"""The placement part of a FEN, and the same position as a mapping from square to piece.

    "8/8/8/8/8/8/8/K6k"  <->  {"a1": "K", "h1": "k"}

FEN is the usual one-line notation of chess positions; its first field says what stands where. Pieces are its letters,
upper case for white. Squares go by name, in the order a8 b8 ... h8 a7 ... h1, which is that of the field and of a board
seen by white, from the upper left.
"""

from __future__ import annotations

from collections.abc import Mapping

from ganglion.core.errors import InputError

PIECES = "KQRBNPkqrbnp"
SQUARES = tuple(file + rank for rank in "87654321" for file in "abcdefgh")
_TURNED = dict(zip(SQUARES, reversed(SQUARES), strict=True))
_START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR"


def pieces_from_fen(fen: str) -> dict[str, str]:
    """Square -> letter of each piece, in the order of SQUARES; what follows the placement is not looked at.

    Raises:
        InputError: it does not fill eight ranks of eight squares with pieces and gaps.
    """
    placement = fen.split(" ", 1)[0]
    ranks = placement.split("/")
    if len(ranks) != 8:
        raise InputError(f"FEN {fen!r:.100} has {len(ranks)} ranks, not 8", remedy=f"write it like {_START}")
    row = "".join(" " * int(sign) if sign in "12345678" else sign for rank in ranks for sign in rank)
    for rank in ranks:
        if wrong := [sign for sign in rank if sign not in PIECES and sign not in "12345678"]:
            raise InputError(f"FEN {fen!r:.100} has {wrong[0]!r}", remedy=f"use {PIECES} and 1 to 8")
        if (width := sum(int(sign) if sign.isdigit() else 1 for sign in rank)) != 8:
            raise InputError(f"FEN {fen!r:.100} has {width} squares in rank {rank!r}", remedy="fill 8")
    return {square: sign for square, sign in zip(SQUARES, row, strict=True) if sign != " "}


def fen_from_pieces(pieces: Mapping[str, str]) -> str:
    """The placement part of the FEN; adjacent empty squares are one number."""
    ranks = []
    for start in range(0, 64, 8):
        row, gap = "", 0
        for square in SQUARES[start : start + 8]:
            if square in pieces:
                row, gap = row + (str(gap) if gap else "") + pieces[square], 0
            else:
                gap += 1
        ranks.append(row + (str(gap) if gap else ""))
    return "/".join(ranks)


def in_order(pieces: Mapping[str, str]) -> dict[str, str]:
    """The same pieces, squares in the order of SQUARES."""
    return {square: pieces[square] for square in SQUARES if square in pieces}


def turned(pieces: Mapping[str, str]) -> dict[str, str]:
    """The pieces on a board turned half a circle: a8 becomes h1. It undoes itself."""
    return in_order({_TURNED[square]: piece for square, piece in pieces.items()})
