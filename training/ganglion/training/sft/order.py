"""The order of rows in each epoch where batches are to hold rows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

_POOL = 50  # batches that are sorted together: the more, the less padding and the less random


class LengthOrder(torch.utils.data.Sampler[int]):
    """Rows at random, sorted by length within pools of batches; the same for a seed and an epoch, after resuming too.

    The longest batch comes first, so that too little memory shows at once.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Trainer says which epoch comes next."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        rows = torch.randperm(len(self._lengths), generator=random).tolist()
        pool, size = self._batch_size * _POOL, self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(rows), pool):
            ordered = sorted(rows[start : start + pool], key=lambda row: -self._lengths[row])
            batches += [ordered[k : k + size] for k in range(0, len(ordered), size)]
        last = [batches.pop()] if len(batches[-1]) < size else []  # a short batch stays the last one
        shuffled = [batches[k] for k in torch.randperm(len(batches), generator=random).tolist()]
        longest = max(range(len(shuffled)), key=lambda k: self._lengths[shuffled[k][0]], default=0)
        if shuffled:
            shuffled[0], shuffled[longest] = shuffled[longest], shuffled[0]
        return iter([row for batch in shuffled + last for row in batch])
