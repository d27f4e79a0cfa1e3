"""Tasks of several steps: which rows belong together, and choosing whole ones of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, Task
from ganglion.core.tasks.lazy import picked


def episodes(task: Task, examples: Sequence[Example]) -> list[list[int]]:
    """Indices of `examples` in order, one list per task of steps; for a task without steps, one list per example.

    Raises:
        InputError: the steps of one lie apart.
    """
    if task.sequential is None:
        return [[index] for index in range(len(examples))]
    found: dict[Hashable, list[int]] = {}
    before: Hashable = None
    for index, example in enumerate(examples):
        name = task.sequential.episode(example)
        if name in found and name != before:
            raise InputError(f"row {index} goes on with task {name!r:.80}, left before", remedy="sort rows by task")
        found.setdefault(name, []).append(index)
        before = name
    return list(found.values())


def chosen(
    task: Task,
    examples: Sequence[Example],
    start: int | None = None,
    end: int | None = None,
    most: int | None = None,
    rows: int | None = None,
) -> Sequence[Example]:
    """The examples of whole tasks.

    Args:
        task: whose examples these are.
        examples: all of a file.
        start: first task, by its position in the file from 0; default the first.
        end: the task after the last one; default none.
        most: tasks at most.
        rows: rows at most, but at least one task.

    Raises:
        InputError: the task has no steps, but tasks are to be chosen; or none is left.
    """
    if task.sequential is None:
        for name, value in (("task_start", start), ("task_end", end), ("max_tasks", most)):
            if value is not None:
                raise InputError(
                    f"--{name} means nothing for {task.name}, whose rows stand alone", remedy="leave it out"
                )
        return examples[:rows]
    every = episodes(task, examples)
    kept = every[slice(start, end)][:most]
    if not kept:
        raise InputError(f"tasks {start or 0} to {end} of {len(every)} are none", remedy="give another range")
    indices: list[int] = []
    for steps in kept:
        if indices and rows is not None and len(indices) + len(steps) > rows:
            break
        indices += steps
    return picked(examples, indices)
