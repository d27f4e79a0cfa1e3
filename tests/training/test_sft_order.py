"""Batches of rows of like length: every row once, little padding, the same for a seed and an epoch."""

import itertools
import random

import pytest

pytest.importorskip("torch")

from ganglion.training.sft.order import LengthOrder

_RANDOM = random.Random(7)
LENGTHS = [_RANDOM.randint(10, 500) for _ in range(1003)]


def padding(rows: list[int], batch: int = 8) -> int:
    batches = [[LENGTHS[row] for row in rows[k : k + batch]] for k in range(0, len(rows), batch)]
    return sum(max(lengths) * len(lengths) - sum(lengths) for lengths in batches)


def test_every_row_comes_once_in_an_epoch() -> None:
    assert sorted(LengthOrder(LENGTHS, 8, seed=0)) == list(range(1003))
    assert sorted(LengthOrder([5], 8, seed=0)) == [0]


def test_there_is_far_less_padding_than_at_random() -> None:
    shuffled = random.Random(1).sample(range(1003), 1003)
    assert padding(list(LengthOrder(LENGTHS, 8, seed=0))) < 0.15 * padding(shuffled)


def test_the_order_is_the_epochs_own_and_the_seeds() -> None:
    order = LengthOrder(LENGTHS, 8, seed=0)
    first = list(order)
    assert first == list(order)
    order.set_epoch(1)
    assert list(order) != first
    order.set_epoch(0)
    assert list(order) == first != list(LengthOrder(LENGTHS, 8, seed=1))


def test_batches_do_not_come_sorted() -> None:
    rows = list(LengthOrder(LENGTHS, 8, seed=0))
    starts = [LENGTHS[rows[k]] for k in range(0, 800, 8)]
    falls = sum(a > b for a, b in itertools.pairwise(starts))
    assert 30 < falls < 70


def test_the_longest_batch_comes_first_and_a_short_one_last() -> None:
    rows = list(LengthOrder(LENGTHS, 8, seed=0))
    assert max(LENGTHS) in [LENGTHS[row] for row in rows[:8]]
    assert len(LengthOrder(LENGTHS, 8, seed=0)) == 1003
