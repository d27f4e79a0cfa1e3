"""What is kept of values agrees with numpy on all of them at once."""

import numpy as np
import pytest

from ganglion.training.demonstrations.lerobot.statistics import Statistics, of_frames, of_readings, together

NAMES = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}


def agrees(found: Statistics, values: np.ndarray, quantile_tolerance: float) -> None:
    """Statistics along the first axis."""
    values = values.astype(np.float64)
    assert set(found) == NAMES and found["count"] == [len(values)]
    for name, expected in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0))):
        np.testing.assert_allclose(found[name], expected, rtol=1e-9)
    np.testing.assert_allclose(found["std"], values.std(0), rtol=1e-6)
    for name in ("q01", "q10", "q50", "q90", "q99"):
        share = int(name[1:]) / 100
        np.testing.assert_allclose(found[name], np.quantile(values, share, axis=0), atol=quantile_tolerance)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("count", [1, 2, 4096, 10_001])
def test_readings(dtype, count):
    values = (1000 + 10 * np.random.default_rng(0).normal(size=(count, 3))).astype(dtype)
    agrees(of_readings(values), values, 0 if count <= 4096 else 1.01)


def test_far_from_zero_the_spread_keeps_its_digits():
    values = 1e9 + np.random.default_rng(0).normal(size=(9000, 1))
    assert of_readings(values)["std"] == pytest.approx(values.std(), rel=1e-6)


def test_frames_count_by_color_from_0_to_1():
    frames = np.random.default_rng(0).integers(3, 250, (5, 7, 9, 3)).astype(np.uint8)
    histogram = np.stack([np.bincount(frames[..., color].ravel(), minlength=256) for color in range(3)])
    found = of_frames(histogram, 5)
    assert all(value.shape == (3, 1, 1) for name, value in found.items() if name != "count")
    flat = {name: value.reshape(-1) for name, value in found.items()}
    agrees(flat | {"count": np.array([5 * 7 * 9])}, frames.reshape(-1, 3) / 255, 1 / 255)


def test_parts_together_are_as_the_whole():
    values = np.random.default_rng(0).normal(size=(1000, 2))
    parts = [of_readings(part) for part in (values[:100], values[100:100], values[100:])]
    whole = None
    for part in parts:
        whole = together(whole, part)
    assert whole is not None
    agrees(whole, values, 0.1)


def test_what_was_not_recorded_counts_nothing():
    nothing = of_readings(np.zeros((0, 2)))
    something = of_readings(np.full((3, 2), 7.0))
    assert nothing["count"] == [0] and set(nothing) == NAMES
    assert together(nothing, something) is something and together(something, nothing) is something
    black = of_frames(np.zeros((3, 256), np.int64), 0)
    assert black["count"] == [0] and black["max"].max() == 0 and set(black) == NAMES
