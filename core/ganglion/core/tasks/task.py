"""What a task is: how a data row becomes a prompt and an answer, which answers are valid, and how they are judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Turn:
    """One exchange.

    images  files shown before the text, in order
    prompt  the user's turn, without image placeholders
    answer  the expected answer exactly as a model must write it
    """

    images: tuple[Path, ...]
    prompt: str
    answer: str


@dataclass(frozen=True)
class Example(Turn):
    """One row, ready for any model: a turn, and those before it where the row is a dialogue.

    row      the row as it was read, for metrics and prediction files
    history  the earlier turns, first one first
    context  what metrics need beside the row, such as the API that a program is written in
    """

    row: Mapping[str, Any]
    history: tuple[Turn, ...] = ()
    context: Any = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, this one last."""
        return (*self.history, self)

    def unrolled(self) -> list[Example]:
        """An example per turn, each with the true turns before it: every answer of a dialogue is scored."""
        return [
            Example(turn.images, turn.prompt, turn.answer, self.row, self.turns[:k], self.context)
            for k, turn in enumerate(self.turns)
        ]


class RowError(Exception):
    """A row can't be used; says which column, "" for the whole row, and why. The reader adds file and row number."""

    def __init__(self, column: str, what: str, remedy: str) -> None:
        self.column = column
        super().__init__(f"column {column!r}: {what}; {remedy}" if column else f"{what}; {remedy}")


def is_number(value: Any) -> bool:
    """Whether a row's value is a finite number, however large; a truth value is none."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True)
class Sequential:
    """How examples follow one another where what was answered goes into the next prompt.

    episode  example -> the run of steps it belongs to; these lie one behind another, in order
    carried  (example, raw answers to the steps before it, fits) -> the same example with the memory that these answers
             leave in its prompt; without answers its memory is empty. fits: prompt -> whether the model takes it, by
             which the memory is cut; None where there is no limit
    """

    episode: Callable[[Example], Hashable]
    carried: Callable[[Example, Sequence[str], Callable[[str], bool] | None], Example]


@dataclass(frozen=True)
class Task:
    """A task is data: adding one means one of these, registered, and a recipe.

    schema          JSON schema (draft 2020-12) of an answer; its property order is the order of writing. None where
                    answers are plain text
    max_new_tokens  enough for the longest valid answer with a small tokenizer
    read_row        (row, folder of the file) -> Example, or RowError
    metrics         (examples, raw answers) -> name -> value, over all examples; an invalid answer counts as wrong
    canonical       (example, raw answer) -> the same text for all answers that mean the same, None for an invalid one;
                    for plain text: JSON answers are compared key by key
    from_table      the rows of a CSV file, cells as text by column -> rows as read_row takes them; None where columns
                    are the row's own keys
    labels          example -> what a data file is counted by: name -> the values that its answer has, any number of
                    them, one and the same value more than once too; None counts what the schema enumerates at its top
    image_column    the column of a row that names its first image
    sequential      for a task whose examples are steps; None where each example stands alone
    conversations   whether rows may be conversations: "any" one is a row, in the form of `conversation`; "own": the
                    task's own rows are conversations, read by read_row; "none": its rows need more than a conversation
    beside          names of files that may lie beside a data file and decide how its rows are read
    headline        the metric that two builds of one model are compared by, a share; None where there is none
    """

    name: str
    summary: str
    schema: Mapping[str, Any] | None
    max_new_tokens: int
    read_row: Callable[[Mapping[str, Any], Path], Example]
    metrics: Callable[[Sequence[Example], Sequence[str]], dict[str, float]]
    canonical: Callable[[Example, str], str | None] | None = None
    from_table: Callable[[Iterable[Mapping[str, str]]], Iterator[Mapping[str, Any]]] | None = None
    sequential: Sequential | None = None
    labels: Callable[[Example], Mapping[str, Sequence[str]]] | None = None
    image_column: str = "image_path"
    conversations: Literal["any", "own", "none"] = "any"
    beside: tuple[str, ...] = ()
    headline: str | None = None
