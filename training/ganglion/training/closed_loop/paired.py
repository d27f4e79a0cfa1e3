"""Paired comparison of a few trials: the median of the differences and an interval that assumes nothing of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Of n pairs.

    median          of the differences
    low, high       interval that holds the median of all such pairs; the extremes where n is too small for that
    confidence      with which it does, at least as much as was asked for where n allows it
    better          how many differences are below zero
    """

    n: int
    median: float
    low: float
    high: float
    confidence: float
    better: int


def paired_difference(ours: Sequence[float], theirs: Sequence[float], confidence: float = 0.95) -> Difference | None:
    """Ours minus theirs, pair by pair; None without a pair.

    The interval is between the k-th smallest and the k-th largest difference, of which the sign test gives the
    confidence, 1 - 2 P(Binomial(n, 1/2) < k), for the largest k that leaves as much as is asked for.
    """
    off = np.sort(np.subtract(ours, theirs, dtype=np.float64))
    n = len(off)
    if not n:
        return None
    k, missed = 1, 0.5**n
    while 2 * (k + 1) <= n + 1 and 1 - 2 * (more := missed + math.comb(n, k) * 0.5**n) >= confidence:
        k, missed = k + 1, more
    return Difference(
        n=n,
        median=float(np.median(off)),
        low=float(off[k - 1]),
        high=float(off[n - k]),
        confidence=1 - 2 * missed if n > 1 else 0.0,
        better=int((off < 0).sum()),
    )
