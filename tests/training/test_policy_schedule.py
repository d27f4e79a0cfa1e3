"""Learning rates: warm-up, hold, cosine to the floor; by step or epoch; and ReWarm."""

import math

import numpy as np
import pytest

from ganglion.training.policy.schedule import Schedule

PEAK = 5e-4


def test_rates_rise_hold_and_fall_to_the_floor() -> None:
    curve = Schedule(steps=1000, warmup=0.03, hold=0.02, floor=1e-6).curve(PEAK)
    assert (np.diff(curve[:31]) > 0).all() and curve[0] > 0
    assert (curve[30:51] == PEAK).all()
    assert (np.diff(curve[50:]) <= 0).all()
    assert curve[-1] == pytest.approx(1e-6, abs=1e-8)
    middle = 1e-6 + (PEAK - 1e-6) * 0.5 * (1 + math.cos(math.pi * (500 - 50) / 950))
    assert curve[500] == pytest.approx(middle)


def test_a_peak_below_the_floor_stays_where_it_is() -> None:
    assert Schedule(steps=100, floor=1e-6).curve(5e-7).max() == 5e-7


def test_by_epoch_rates_change_only_between_epochs() -> None:
    curve = Schedule(steps=100, warmup=0.2, hold=0.1, epoch_steps=10, by_epoch=True).curve(PEAK)
    assert all(len(set(curve[start : start + 10])) == 1 for start in range(0, 100, 10))
    assert len(set(curve)) > 5


def test_rewarm_grows_back_to_the_plain_curve() -> None:
    plain, again = Schedule(steps=200), Schedule(steps=200, rewarm_steps=20)
    curve = again.curve(PEAK, resumed=100)
    ratio = curve[100:] / plain.curve(PEAK)[100:]
    assert ratio[:20] == pytest.approx(np.arange(1, 21) / 20)
    assert ratio[20:] == pytest.approx(1)
    assert (again.curve(PEAK) == plain.curve(PEAK)).all()


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_runs_have_rates_too(steps: int) -> None:
    curve = Schedule(steps=steps).curve(PEAK)
    assert len(curve) == steps and (curve > 0).all() and (curve <= PEAK).all()
