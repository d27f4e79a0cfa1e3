"""Examples that are read when they are asked for: a sequence that takes the place of a list too large for memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from ganglion.core.tasks.task import Example


class LazyExamples(Sequence[Example]):
    """Examples by number; the same number gives an equal example each time, but not the same object.

    Args:
        read: makes the example of a number.
        numbers: which ones these are, in order.
    """

    def __init__(self, read: Callable[[int], Example], numbers: Sequence[int]) -> None:
        self._read, self._numbers = read, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> LazyExamples: ...
    def __getitem__(self, index: int | slice) -> Example | LazyExamples:
        """One example, or those of a slice, lazy as well."""
        if isinstance(index, slice):
            return LazyExamples(self._read, self._numbers[index])
        return self._read(self._numbers[index])


def picked(examples: Sequence[Example], indices: Sequence[int]) -> Sequence[Example]:
    """The examples at `indices`: a list, or lazy where `examples` are."""
    if isinstance(examples, LazyExamples):
        return LazyExamples(examples.__getitem__, indices)
    return [examples[index] for index in indices]
