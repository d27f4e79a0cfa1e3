"""What a chess_board answer looks like, and what it says: a board in two frames, and how two answers compare.

    {"metadata": {"view": "white", "coordinates": true}, "pieces": {"8": "r n b q k b n r", ..., "1": "..."}}

view: whose side is at the bottom of the picture. coordinates: whether files and ranks are printed. pieces: every rank,
its eight squares from file a to h with the letters of FEN, or "." for an empty one. The metadata comes first, since the
names of the squares depend on it.

Every square is written, in place: a sign answers what stands there, where a list of occupied squares would ask for the
next one first. All answers are of one length. The spaces keep two squares from sharing a token.

Squares have a name, and a place in the picture. In the frame of names, a board whose side was mistaken is all wrong; as
shown (pieces put back into the picture by the answer's own view), it is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganglion.core.chess_fen import PIECES, SQUARES, in_order, turned
from ganglion.core.tasks.answers import write_answer

VIEWS = ("white", "black")
RANKS = tuple("87654321")
EMPTY = "."
_SIGN = f"[{PIECES}{EMPTY}]"
# The length says no more than the pattern, but to validators whose $ lets a line break follow.
_RANK = {"type": "string", "pattern": f"^{_SIGN}( {_SIGN}){{7}}$", "maxLength": 15}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "metadata": {
            "type": "object",
            "properties": {"view": {"type": "string", "enum": list(VIEWS)}, "coordinates": {"type": "boolean"}},
            "required": ["view", "coordinates"],
            "additionalProperties": False,
        },
        "pieces": {
            "type": "object",
            "properties": dict.fromkeys(RANKS, _RANK),
            "required": list(RANKS),
            "additionalProperties": False,
        },
    },
    "required": ["metadata", "pieces"],
    "additionalProperties": False,
}

PROMPT = (
    "Read this chess board. Reply in JSON: metadata (view: white or black below; coordinates: printed or not), pieces "
    "by rank, 8 to 1: signs of FEN from a to h, . for an empty square."
)


def board_answer(pieces: Mapping[str, str], view: str, coordinates: bool) -> str:
    """The answer as a model must write it; pieces go by the names of their squares."""
    signs = [pieces.get(square, EMPTY) for square in SQUARES]
    ranks = {rank: " ".join(signs[8 * row : 8 * row + 8]) for row, rank in enumerate(RANKS)}
    return write_answer({"metadata": {"view": view, "coordinates": coordinates}, "pieces": ranks})


def board_row(
    name: str, image: str, pieces: Mapping[str, str], view: str, coordinates: bool, source: str | None = None
) -> dict[str, Any]:
    """A row of a data file: its id, the image's path from that file, and the question with its answer."""
    said = [("user", f"<image>\n{PROMPT}"), ("assistant", board_answer(pieces, view, coordinates))]
    row = {"id": name, "image": image, "conversations": [{"from": who, "value": value} for who, value in said]}
    return row if source is None else {**row, "source": source}


def by_rank(spelled: Mapping[str, Any]) -> bool:
    """Whether pieces are spelled by rank, as a model must; a data file may have square -> letter instead."""
    return any(key in RANKS for key in spelled)


def named_pieces(answer: Mapping[str, Any]) -> dict[str, str]:
    """Square -> letter of each piece, in the order of SQUARES, whichever way the answer spells them."""
    spelled: Mapping[str, str] = answer["pieces"]
    if not by_rank(spelled):
        return in_order(spelled)
    signs = [sign for rank in RANKS for sign in spelled[rank].split(" ")]
    return {square: sign for square, sign in zip(SQUARES, signs, strict=True) if sign != EMPTY}


def as_shown(answer: Mapping[str, Any]) -> dict[str, str]:
    """The pieces by place in the picture, where a8 means the upper left square."""
    pieces = named_pieces(answer)
    return pieces if answer["metadata"]["view"] == VIEWS[0] else turned(pieces)
