"""The order of moments: every one once an epoch, those with a sensor as often as was asked, the same for all."""

from collections import Counter

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.training.policy.order import Order

FELT = np.arange(1000) % 18 == 0  # 5.6 %


def epoch(order: Order, number: int) -> list[int]:
    return [order[number * order.epoch_length + at] for at in range(order.epoch_length)]


def test_without_a_share_an_epoch_meets_every_moment_once() -> None:
    order = Order(FELT, None, seed=0)
    assert order.epoch_length == 1000
    first, second = epoch(order, 0), epoch(order, 1)
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first != second


@pytest.mark.parametrize("share", [0.02, 0.055, 0.3, 0.5, 0.9])
def test_moments_with_a_sensor_get_their_share_and_are_repeated_evenly(share: float) -> None:
    order = Order(FELT, share, seed=3)
    met = epoch(order, 0)
    assert np.mean(FELT[met]) == pytest.approx(share, abs=1 / order.epoch_length)
    counts = Counter(met)
    assert all(counts[moment] == 1 for moment in np.flatnonzero(~FELT))
    repeats = [counts[moment] for moment in np.flatnonzero(FELT)]
    assert max(repeats) - min(repeats) <= 1


def test_what_is_repeated_once_more_changes_with_the_epoch() -> None:
    order = Order(FELT, 0.1, seed=0)
    often = [{m for m, n in Counter(epoch(order, k)).items() if n > 1 and FELT[m]} for k in range(2)]
    assert often[0] != often[1]


def test_processes_share_an_epoch_out_without_overlap_and_the_order_is_the_seed_s() -> None:
    order, again = Order(FELT, 0.4, seed=5), Order(FELT, 0.4, seed=5)
    size, processes = 4, 2
    seen: list[int] = []
    for number in range(order.epoch_length // size):
        assert number % processes in (0, 1)
        seen += [order[number * size + row] for row in range(size)]
    whole = epoch(again, 0)
    assert seen == whole[: len(seen)]
    assert epoch(Order(FELT, 0.4, seed=6), 0) != whole


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="sensor_share"):
        Order(FELT, share, seed=0)


@pytest.mark.parametrize("felt", [np.zeros(5, bool), np.ones(5, bool)])
def test_a_share_of_what_is_not_there_is_refused(felt: np.ndarray) -> None:
    with pytest.raises(InputError, match="no episode is with"):
        Order(felt, 0.5, seed=0)
