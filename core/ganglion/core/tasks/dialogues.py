"""Rows and their turns: an example per turn, and which answers belong together again."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ganglion.core.tasks.lazy import LazyExamples
from ganglion.core.tasks.task import Example


def unrolled(examples: Sequence[Example]) -> Sequence[Example]:
    """An example per turn of each, in order: a list, or lazy where `examples` are."""
    if not isinstance(examples, LazyExamples):
        return [turn for example in examples for turn in example.unrolled()]
    rows, turns = array("q"), array("q")
    for row, example in enumerate(examples):
        count = len(example.turns)
        rows.extend([row] * count)
        turns.extend(range(count))
    return LazyExamples(lambda k: examples[rows[k]].unrolled()[turns[k]], range(len(rows)))


def by_row(examples: Sequence[Example]) -> list[list[int]]:
    """Indices of `examples`, in order, one list per row: the turns of a dialogue are in one list."""
    rows: list[list[int]] = []
    for index, example in enumerate(examples):
        if rows and _follows(example, examples[rows[-1][-1]]):
            rows[-1].append(index)
        else:
            rows.append([index])
    return rows


def dialogues_in(examples: Sequence[Example]) -> list[list[int]]:
    """As `by_row`, but only rows of more than one turn."""
    return [row for row in by_row(examples) if len(row) > 1]


def _follows(example: Example, before: Example) -> bool:
    """A row that is read twice is the same row twice; two rows with the same content both start without history."""
    if len(example.history) != len(before.history) + 1:
        return False
    return example.row is before.row or example.row == before.row
