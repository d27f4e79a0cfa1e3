"""Reading an answer by its task's rules, and the one answer of several models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ganglion.core.tasks.answers import read_answer, write_answer
from ganglion.core.tasks.task import Example, Task


def read_by_task(task: Task, example: Example, text: str) -> Any:
    """What `text` says: a dict for a JSON task, a canonical text for any other; None where it is no valid answer."""
    if task.schema is not None:
        return read_answer(text, task.schema)
    return task.canonical(example, text) if task.canonical else text.strip()


def vote(task: Task, example: Example, answers: Sequence[str]) -> str:
    """The answer of the majority; invalid answers have no say, and the earlier model wins a tie.

    JSON answers are voted on key by key, which may join what no single model said; plain text is voted on as a whole.

    Args:
        task: whose answers these are.
        example: what was asked.
        answers: one per model; at least one.
    """
    read = [(text, found) for text in answers if (found := read_by_task(task, example, text)) is not None]
    if not read:
        return answers[0]
    if task.schema is None:
        winner = _most_common([found for _, found in read])
        return next(text for text, found in read if found == winner)
    keys = list(read[0][1])
    values = {key: _most_common([json.dumps(found[key]) for _, found in read if key in found]) for key in keys}
    return write_answer({key: json.loads(value) for key, value in values.items()})


def _most_common(values: Sequence[str]) -> str:
    return Counter(values).most_common(1)[0][0]  # equal counts come in the order of first appearance
