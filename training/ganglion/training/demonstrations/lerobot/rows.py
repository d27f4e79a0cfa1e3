"""Which readings each row shows: LeRobot has one table row per frame, an episode streams of many rates.

A row is a stretch of time in which each stream has as many new readings as a row has room for, one of most and a block
of a sensor's. So every reading is new in exactly one row, at no grid and with no rate assumed; other rows show the one
before again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.training.demonstrations.episode import Stamps

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """The rows of an episode.

    ends  stream -> (rows,) int64, how many of its readings there were at the end of each row
    """

    ends: Mapping[str, Counts]

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.ends.values())))

    def shown(self, stream: str) -> Counts:
        """Index of the reading each row shows, (rows,): the newest, and the first before there is one."""
        return (self.ends[stream] - 1).clip(min=0)

    def counts(self, stream: str) -> Counts:
        """How many readings are new in each row, (rows,)."""
        return np.diff(self.ends[stream], prepend=0)


def lay_out(streams: Mapping[str, Stamps], room: Mapping[str, int], last: str) -> Rows:
    """The fewest rows in which every reading is new once.

    Rows are filled from the end, so that where `last` is the fastest stream each ends with a reading of it, as an
    action ends what was seen before it.

    Args:
        streams: stamps of each, increasing.
        room: most new readings of each in a row.
        last: the stream that others of the same stamp come before.
    """
    names = [*(name for name in streams if name != last), last]
    stamps = np.concatenate([streams[name] for name in names])
    owners = np.repeat(np.arange(len(names)), [len(streams[name]) for name in names])
    owners = owners[np.argsort(stamps, kind="stable")]
    limits = [room[name] for name in names]
    free, back, rows = list(limits), 0, np.empty(len(owners), np.int64)
    begun = False  # a row ends with the last reading of `last`, whatever comes after it
    for place, owner in reversed(list(enumerate(owners.tolist()))):
        first_of_last = owner == len(names) - 1 and not begun
        if free[owner] == 0 or (first_of_last and place < len(owners) - 1):
            free, back = list(limits), back + 1
        begun = begun or first_of_last
        free[owner] -= 1
        rows[place] = back
    rows = back - rows
    numbers = np.arange(back + 1)
    return Rows(
        {name: np.searchsorted(rows[owners == owner], numbers, side="right") for owner, name in enumerate(names)}
    )
