"""Numbered rows in shared memory: one process appends, others read the newest; nothing torn is ever read.

A reader looks at a row's number before and after copying it. As in the ring, stores are plain and in program order,
which x86-64 keeps.
"""

from __future__ import annotations

from mmap import mmap

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Rows:
    """The newest `capacity` rows (dim,) float64, with a stamp each, at `offset` in zeroed memory."""

    def __init__(self, memory: mmap, offset: int, capacity: int, dim: int) -> None:
        self.capacity = capacity
        self._count = np.frombuffer(memory, np.int64, 1, offset)
        self._tags = np.frombuffer(memory, np.int64, capacity, offset + 8)  # number + 1; 0 while there is none
        self._stamps_ns = np.frombuffer(memory, np.int64, capacity, offset + 8 + 8 * capacity)
        values = np.frombuffer(memory, np.float64, capacity * dim, offset + 8 + 16 * capacity)
        self._values: Floats = values.reshape(capacity, dim)

    @staticmethod
    def size(capacity: int, dim: int) -> int:
        """Bytes that they take."""
        return 8 + capacity * (16 + 8 * dim)

    @property
    def count(self) -> int:
        """How many have been appended; the newest is number count - 1."""
        return int(self._count[0])

    def clear(self) -> None:
        """Forget all and count from 0 again; for the one who appends."""
        self._tags[:] = 0
        self._count[0] = 0

    def append(self, stamp_ns: int, *parts: Floats) -> None:
        """Add a row, put together from parts."""
        number = self.count
        slot = number % self.capacity
        self._tags[slot] = 0
        self._stamps_ns[slot] = stamp_ns
        np.concatenate(parts, out=self._values[slot])
        self._tags[slot] = number + 1
        self._count[0] = number + 1

    def read(self, number: int) -> tuple[int, Floats] | None:
        """Stamp and values (dim,) of a row; None if it is not there yet, or not any more."""
        slot = number % self.capacity
        if number < 0 or self._tags[slot] != number + 1:
            return None
        stamp_ns, values = int(self._stamps_ns[slot]), self._values[slot].copy()
        return (stamp_ns, values) if self._tags[slot] == number + 1 else None
