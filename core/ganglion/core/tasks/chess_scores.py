"""How chess_board answers are judged.

    n                            examples
    json_valid_rate              share of answers that are JSON of the schema, and nothing else
    position_valid_rate          share whose pieces could be a game's position (see chess_position)
    exact_match                  share equal to the expected answer, metadata included
    fen_accuracy                 share whose placement (FEN) is the expected one
    board_exact                  the same as shown: the board in the picture is right, whatever side was said
    view_accuracy                share that say whose side is below
    coordinates_accuracy         share that say whether coordinates are printed
    square_accuracy              share of squares, 64 an example, that are named right: the piece, or that there is none
    square_accuracy_as_shown     the same as shown
    occupied_square_accuracy     share of the squares with a piece on which the answer has that piece, as shown
    piece_precision              share of the pieces in valid answers that stand there, as shown; 0 where none is named
    empty_board_baseline         square_accuracy of an answer without pieces: what a share of squares is worth

An invalid answer is wrong in all of its squares. Where rows have a `source`, all comes for each as source.NAME.metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganglion.core.chess_fen import SQUARES
from ganglion.core.chess_position import position_fault
from ganglion.core.tasks.answers import read_answer
from ganglion.core.tasks.chess_schema import SCHEMA, as_shown, named_pieces
from ganglion.core.tasks.task import Example

_SQUARES = len(SQUARES)


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """All of the above, over all examples and then for each source."""
    judged = [_judged(example, answer) for example, answer in zip(examples, answers, strict=True)]
    scores = _shares(judged)
    sources = [example.row.get("source") for example in examples]
    for source in sorted({source for source in sources if source is not None}):
        own = [one for one, its in zip(judged, sources, strict=True) if its == source]
        scores |= {f"source.{source}.{name}": value for name, value in _shares(own).items()}
    return scores


def _judged(example: Example, text: str) -> dict[str, int]:
    """Counts of one example; of squares where the name says so."""
    want = read_answer(example.answer, SCHEMA)
    if want is None:
        raise ValueError(f"the example's own answer is not valid: {example.answer!r:.100}")
    expected = named_pieces(want)
    counts = {"pieces": len(expected)}
    if (got := read_answer(text, SCHEMA)) is None:
        return counts
    named, shown, seen = named_pieces(got), as_shown(want), as_shown(got)
    return counts | {
        "valid": 1,
        "possible": position_fault(named) is None,
        "exact": want == got,
        "placement": expected == named,
        "board": shown == seen,
        "view": want["metadata"]["view"] == got["metadata"]["view"],
        "coordinates": want["metadata"]["coordinates"] == got["metadata"]["coordinates"],
        "named squares": _equal_squares(expected, named),
        "shown squares": _equal_squares(shown, seen),
        "found": sum(seen.get(square) == piece for square, piece in shown.items()),
        "said": len(seen),
    }


def _equal_squares(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return sum(one.get(square) == other.get(square) for square in SQUARES)


def _shares(judged: Sequence[Mapping[str, int]]) -> dict[str, float]:
    def total(name: str) -> int:
        return sum(one.get(name, 0) for one in judged)

    n, squares = max(len(judged), 1), max(_SQUARES * len(judged), 1)
    return {
        "n": float(len(judged)),
        "json_valid_rate": total("valid") / n,
        "position_valid_rate": total("possible") / n,
        "exact_match": total("exact") / n,
        "fen_accuracy": total("placement") / n,
        "board_exact": total("board") / n,
        "view_accuracy": total("view") / n,
        "coordinates_accuracy": total("coordinates") / n,
        "square_accuracy": total("named squares") / squares,
        "square_accuracy_as_shown": total("shown squares") / squares,
        "occupied_square_accuracy": total("found") / max(total("pieces"), 1),
        "piece_precision": total("found") / max(total("said"), 1),
        "empty_board_baseline": (_SQUARES * len(judged) - total("pieces")) / squares,
    }
