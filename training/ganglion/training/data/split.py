"""Setting rows aside to validate on."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Hashable, Sequence

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example
from ganglion.core.tasks.lazy import picked


def split_examples(
    examples: Sequence[Example], share: float, seed: int, episode: Callable[[Example], Hashable] | None = None
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Rows to learn from and rows to validate on, each in their order; lazy where `examples` are.

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
    groups: dict[bytes, array[int]] = {}
    owner: dict[bytes, bytes] = {}
    for index, example in enumerate(examples):
        keys = _keys(example, episode)
        found = list(dict.fromkeys(owner[key] for key in keys if key in owner)) or [keys[0]]
        for other in found[1:]:  # the row joins groups that had nothing in common so far
            groups[found[0]] += groups.pop(other)
        joined = [key for key, group in owner.items() if group in found[1:]] if found[1:] else []
        for key in [*keys, *joined]:
            owner[key] = found[0]
        groups.setdefault(found[0], array("q")).append(index)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    held, count = bytearray(len(examples)), 0
    for group in order:
        if count + len(group) / 2 < share * len(examples):
            count += len(group)
            for index in group:
                held[index] = True
    if not 0 < count < len(examples):
        raise InputError(
            f"--validation.split {share:g} of {len(examples)} rows in {len(order)} groups leaves a side empty",
            remedy="give another share or more rows",
        )
    sides = [array("q", (k for k, is_held in enumerate(held) if is_held == side)) for side in (False, True)]
    return picked(examples, sides[0]), picked(examples, sides[1])


def _keys(example: Example, episode: Callable[[Example], Hashable] | None) -> list[bytes]:
    """What the row must not share with one of the other side, as hashes: of a large set they all stay in memory."""
    shared = [str(path) for turn in example.turns for path in turn.images] or [example.prompt]
    shared += [f"task {episode(example)}"] if episode else []
    return [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in shared]
