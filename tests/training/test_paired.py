"""The paired interval against the sign test's tables, and against how often it holds the median."""

import numpy as np
import pytest

from ganglion.training.closed_loop.paired import paired_difference


@pytest.mark.parametrize(
    ("n", "place", "confidence"),
    [(2, 1, 0.5), (5, 1, 0.9375), (6, 1, 0.96875), (10, 2, 0.978515625), (20, 6, 0.9586105346679688)],
)
def test_the_interval_lies_between_the_differences_that_the_sign_test_names(n, place, confidence) -> None:
    theirs = np.linspace(5, 6, n)
    off = np.random.default_rng(n).permutation(np.arange(1.0, n + 1)) - 0.5
    found = paired_difference(theirs + off, theirs)
    assert (found.low, found.high) == pytest.approx((place - 0.5, n - place + 0.5))
    assert found.median == pytest.approx(n / 2)
    assert found.confidence == pytest.approx(confidence, abs=1e-12)
    assert (found.n, found.better) == (n, 0)


def test_of_many_samples_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [paired_difference(rng.exponential(1.0, 12), np.zeros(12)) for _ in range(2000)]
    held = np.mean([each.low <= np.log(2) <= each.high for each in found])
    assert held == pytest.approx(found[0].confidence, abs=0.012) and found[0].confidence >= 0.95


def test_pairs_and_not_groups_are_compared() -> None:
    theirs = np.array([1.0, 100.0, 10.0])
    found = paired_difference(theirs - [0.1, 0.2, 0.3], theirs)
    assert (found.median, found.better) == (pytest.approx(-0.2), 3)


def test_nothing_comes_of_no_pairs_and_one_pair_is_no_evidence() -> None:
    assert paired_difference([], []) is None
    assert paired_difference([2.0], [1.0]).confidence == 0.0
