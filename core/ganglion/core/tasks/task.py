"""What a task is: how a data row becomes a prompt and an answer, which answers are valid, and how they are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """One row, ready for any model.

    images  files shown before the text, in order
    prompt  the user's turn, without image placeholders
    answer  the expected answer exactly as a model must write it
    row     the row as it was read, for metrics and prediction files
    """

    images: tuple[Path, ...]
    prompt: str
    answer: str
    row: Mapping[str, Any]


class RowError(Exception):
    """A row can't be used; says which column and why. The reader adds file and row number."""

    def __init__(self, column: str, what: str, remedy: str) -> None:
        super().__init__(f"column {column!r}: {what}; {remedy}")


@dataclass(frozen=True)
class Task:
    """A task is data: adding one means one of these, registered, and a recipe.

    schema          JSON schema (draft 2020-12) of an answer; its property order is the order of writing
    max_new_tokens  enough for the longest valid answer with a small tokenizer
    read_row        (row, folder of the file) -> Example, or RowError
    metrics         (examples, raw answers) -> name -> value, over all examples; an invalid answer counts as wrong
    """

    name: str
    summary: str
    schema: Mapping[str, Any]
    max_new_tokens: int
    read_row: Callable[[Mapping[str, Any], Path], Example]
    metrics: Callable[[Sequence[Example], Sequence[str]], dict[str, float]]
