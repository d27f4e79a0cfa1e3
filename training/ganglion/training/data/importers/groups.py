"""Which rows belong together, and which part of a set each such group goes to."""

from __future__ import annotations

import functools
import hashlib
from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganglion.core.bundle import sha256_file
from ganglion.core.tasks import Example, Task

_FILES_KEPT = 2**14


class Grouping:
    """Takes rows one by one and tells at the end which belong together, at 16 bytes of memory for each image of a row.

    Steps of an episode belong together; other rows where they share an image, by content, also through a third row;
    rows without images where they ask the same.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows, self._keys = array("Q"), array("Q")
        self._count = 0
        self._image = functools.lru_cache(maxsize=_FILES_KEPT)(lambda path: _key(f"image {sha256_file(path)}"))

    def add(self, example: Example) -> None:
        """The next row."""
        keys = self._keys_of(example)
        self._rows.extend([self._count] * len(keys))
        self._keys.extend(keys)
        self._count += 1

    def _keys_of(self, example: Example) -> list[int]:
        if self._task.sequential:
            return [_key(f"episode {self._task.sequential.episode(example)!r}")]
        images: list[Path] = [path for turn in example.turns for path in turn.images]
        asked = "\0".join(turn.prompt for turn in example.turns)
        return [self._image(path) for path in images] or [_key(f"text {asked}")]

    def groups(self) -> NDArray[np.uint64]:
        """(rows,) the smallest key of each row's group: its name, whatever the order of rows."""
        rows = np.frombuffer(self._rows, np.uint64).astype(np.int64) if self._rows else np.empty(0, np.int64)
        keys, key_of = np.unique(np.array(self._keys, np.uint64), return_inverse=True)
        least = np.arange(len(keys))  # of each key, the smallest one that it is tied to
        of_row = np.full(self._count, len(keys))
        while True:
            np.minimum.at(of_row, rows, least[key_of])
            tied = least.copy()
            np.minimum.at(tied, key_of, of_row[rows])
            tied = tied[tied]  # a step further, so that long chains take few rounds
            if np.array_equal(tied, least):
                return np.asarray(keys[of_row], np.uint64)
            least = tied


def parts_of(groups: NDArray[np.uint64], shares: Mapping[str, float], seed: int, rest: str) -> NDArray[np.str_]:
    """The part of each row.

    Args:
        groups: (rows,) the group of each.
        shares: part -> share of rows, met as nearly as whole groups allow.
        seed: decides which. The order that a seed gives to groups does not depend on what other groups there are.
        rest: the part that all other rows go to.

    Returns:
        (rows,) names of parts.
    """
    names, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = sorted(range(len(names)), key=lambda k: _key(f"{seed} {names[k]}"))
    part, left = np.full(len(names), rest, dtype=f"<U{max(map(len, [rest, *shares]))}"), iter(order)
    for name, share in shares.items():
        taken = 0
        while taken < share * len(groups) and (group := next(left, None)) is not None:
            part[group] = name
            taken += sizes[group]
    return np.asarray(part[group_of])


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
