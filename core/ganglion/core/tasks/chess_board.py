r"""chess_board: from a picture of a chess board to JSON that says what stands where.

A row is `{"id", "image", "conversations": [{"from": "user", "value": "<image>\n..."}, {"from": "assistant", "value":
"{...}"}]}`, with the image's path from the data file's folder; "human" and "gpt" may name the two roles. An optional
"source" says where the picture is from. What an answer says is in `chess_schema`, how it is judged in `chess_scores`;
the two ways in which a data file may spell the pieces are in `chess_faults`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.tasks.answers import strict_json
from ganglion.core.tasks.chess_faults import answer_fault
from ganglion.core.tasks.chess_schema import SCHEMA, board_answer, named_pieces
from ganglion.core.tasks.chess_scores import metrics
from ganglion.core.tasks.registry import register_task
from ganglion.core.tasks.task import Example, RowError, Task

_NEEDED, _MORE = ("id", "image", "conversations"), ("source",)
_ROLES = (("user", "human"), ("assistant", "gpt"))
_PLACEHOLDER = "<image>"


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    """Turn a row into an Example: the prompt without its placeholder, the answer in its one form.

    Raises:
        RowError: a column is missing or unknown, or does not hold what it must.
    """
    for key in row:
        if key not in _NEEDED + _MORE:
            raise RowError(str(key), "is unknown", f"use {[*_NEEDED, *_MORE]}")
    for key in _NEEDED:
        if key not in row:
            raise RowError(key, "is missing", "add it")
    for key in ("id", "image", *_MORE):
        if key in row and not (isinstance(row[key], str) and row[key].strip()):
            raise RowError(key, f"is {row[key]!r:.40}", "give a text")
    asked, answered = _turns(row["conversations"])
    return Example((folder / row["image"],), _prompt(asked), _answer(answered), row)


def _turns(turns: Any) -> tuple[str, str]:
    column = "conversations"
    if not isinstance(turns, list):
        raise RowError(column, f"is {turns!r:.40}", "give a list of two turns")
    if len(turns) != len(_ROLES):
        raise RowError(column, f"has {len(turns)} turns", "give two: the user's and the assistant's")
    values = []
    for index, (turn, roles) in enumerate(zip(turns, _ROLES, strict=True)):
        at = f"{column}[{index}]"
        if not isinstance(turn, Mapping):
            raise RowError(at, f"is {turn!r:.40}", 'give {"from": ..., "value": ...}')
        for key in turn:
            if key not in ("from", "value"):
                raise RowError(f"{at}.{key}", "is unknown", "use from and value")
        if turn.get("from") not in roles:
            raise RowError(f"{at}.from", f"is {turn.get('from')!r:.40}", f"use {roles[0]!r}")
        if not isinstance(turn.get("value"), str):
            raise RowError(f"{at}.value", f"is {turn.get('value')!r:.40}", "give a text")
        values.append(turn["value"])
    return values[0], values[1]


def _prompt(asked: str) -> str:
    column = "conversations[0].value"
    if (count := asked.count(_PLACEHOLDER)) != 1:
        raise RowError(column, f"has {_PLACEHOLDER} {count} times", "put it there once")
    if not (prompt := asked.replace(_PLACEHOLDER, "").strip()):
        raise RowError(column, "asks nothing", f"add a question to {_PLACEHOLDER}")
    return prompt


def _answer(answered: str) -> str:
    column = "conversations[1].value"
    try:
        answer = strict_json(answered)
    except ValueError as error:
        raise RowError(column, f"is no JSON ({error})", "write the answer as one JSON object") from None
    if fault := answer_fault(answer):
        raise RowError(column, *fault)
    return board_answer(named_pieces(answer), **answer["metadata"])


def labels(example: Example) -> dict[str, Sequence[str]]:
    """What a data set is counted by: the view, whether coordinates are printed, each piece, and the source if given."""
    answer = strict_json(example.answer)
    return {
        "view": [answer["metadata"]["view"]],
        "coordinates": [str(answer["metadata"]["coordinates"]).lower()],
        "pieces": list(named_pieces(answer).values()),
        "source": [example.row["source"]] if "source" in example.row else [],
    }


CHESS_BOARD = register_task(
    Task(
        name="chess_board",
        summary="which piece stands on which square, from a picture of a chess board",
        schema=SCHEMA,
        max_new_tokens=220,
        headline="square_accuracy",
        read_row=read_row,
        metrics=metrics,
        labels=labels,
        image_column="image",
        conversations="own",
    )
)
