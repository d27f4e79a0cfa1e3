"""What makes a chess position valid, as far as pieces and squares tell.

One king a side, not beside the other; at most 16 pieces and 8 pawns a side, no pawn on the first or last rank, and no
more promoted pieces than pawns that are gone. Whose move it is, and so who may be in check, is not in a picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_AT_THE_START = {"Q": 1, "R": 2, "B": 2, "N": 2}


def position_fault(pieces: Mapping[str, str]) -> str | None:
    """Why the position, square -> letter, can't be one of a game; None where it can."""
    for side, name in ((str.upper, "white"), (str.lower, "black")):
        count = Counter(piece.upper() for piece in pieces.values() if piece == side(piece))
        if count["K"] != 1:
            return f"{name} has {count['K']} kings"
        if count.total() > 16:
            return f"{name} has {count.total()} pieces"
        if count["P"] > 8:
            return f"{name} has {count['P']} pawns"
        if sum(max(0, count[piece] - most) for piece, most in _AT_THE_START.items()) > 8 - count["P"]:
            return f"{name} has more promoted pieces than pawns gone"
    if pawn := next((square for square, piece in pieces.items() if piece in "Pp" and square[1] in "18"), None):
        return f"a pawn stands on {pawn}"
    white, black = (next(square for square, piece in pieces.items() if piece == king) for king in "Kk")
    if abs(ord(white[0]) - ord(black[0])) <= 1 and abs(int(white[1]) - int(black[1])) <= 1:
        return f"the kings stand side by side on {white} and {black}"
    return None
