"""Which answers belong together: examples that `Example.unrolled` made, by the row they came from."""

from __future__ import annotations

from collections.abc import Sequence

from ganglion.core.tasks.task import Example


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
    return example.row is before.row and len(example.history) == len(before.history) + 1
