"""Setting rows aside to validate on."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example


def split_examples(
    examples: Sequence[Example], share: float, seed: int, episode: Callable[[Example], Hashable] | None = None
) -> tuple[list[Example], list[Example]]:
    """Rows to learn from and rows to validate on, each in their order.

    Rows that share an image, or without images a prompt, go to the same side: what is validated on was never seen. So
    do all steps of a task that has steps.

    Args:
        examples: all rows.
        share: of rows to validate on, met as nearly as whole groups allow.
        seed: decides which.
        episode: example -> the task whose step it is; None where each stands alone.

    Raises:
        InputError: one of the two would be empty.
    """
    groups: dict[Hashable, list[int]] = {}
    owner: dict[Hashable, Hashable] = {}
    for index, example in enumerate(examples):
        keys: list[Hashable] = [path for turn in example.turns for path in turn.images] or [example.prompt]
        if episode:
            keys.append(("episode", episode(example)))
        found = list(dict.fromkeys(owner[key] for key in keys if key in owner)) or [keys[0]]
        for other in found[1:]:  # the row joins groups that had nothing in common so far
            groups[found[0]] += groups.pop(other)
        for key in [*keys, *(key for key, group in owner.items() if group in found[1:])]:
            owner[key] = found[0]
        groups.setdefault(found[0], []).append(index)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    chosen: set[int] = set()
    for group in order:
        if len(chosen) + len(group) / 2 < share * len(examples):
            chosen.update(group)
    if not chosen or len(chosen) == len(examples):
        raise InputError(
            f"--validation.split {share:g} of {len(examples)} rows in {len(order)} groups leaves a side empty",
            remedy="give another share or more rows",
        )
    return (
        [example for k, example in enumerate(examples) if k not in chosen],
        [example for k, example in enumerate(examples) if k in chosen],
    )
