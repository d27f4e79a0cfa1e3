"""What the fiber sees, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from ganglion.simulation.insertion.optics import BINS, RANGE_MM, Optics, Tomograph

DEPTH = (np.arange(BINS) + 0.5) * RANGE_MM / BINS
ONE = Optics((1.0,), (0.4,), (0.0,), roll_off_mm=1e6, noise=0.0)  # one layer, nothing but what it gives back
FAR = 10.0  # mm moved: speckle is new


def scans(optics: Optics, ahead_mm: float, count: int, moved_mm: float = FAR, seed: int = 0) -> np.ndarray:
    """Amplitudes, (count, BINS), with the one interface there."""
    read = Tomograph(optics, seed).read(np.full((count, 1), ahead_mm), np.full(count, moved_mm))
    return 10 ** (read.astype(np.float64) / 20)


def test_intensity_falls_by_twice_the_attenuation_per_depth() -> None:
    intensity = (scans(ONE, -1.0, 4000) ** 2).mean(axis=0)
    slope_db = np.polyfit(DEPTH, 10 * np.log10(intensity), 1)[0]
    assert slope_db == pytest.approx(-10 * np.log10(np.e) * 2 * 0.4, rel=0.02)


def test_attenuation_adds_up_over_layers() -> None:
    optics = Optics((1.0, 1.0), (0.2, 1.0), (0.0, 0.0), roll_off_mm=1e6, noise=0.0)
    field = Tomograph(optics, 0).field(np.array([[0.5, 1.5]]))[0]
    path_first = np.clip(DEPTH - 0.5, 0, 1.0)
    path_second = np.clip(DEPTH - 1.5, 0, None)
    expected = np.where(DEPTH >= 0.5, np.exp(-0.2 * path_first - 1.0 * path_second), 0.0)
    np.testing.assert_allclose(field, expected, atol=1e-5)


def test_sensitivity_rolls_off_to_a_share_of_1_over_e_at_its_depth() -> None:
    flat = Optics((1.0,), (0.0,), (0.0,), roll_off_mm=1.0, noise=0.0)
    field = Tomograph(flat, 0).field(np.array([[-1.0]]))[0]
    assert np.interp(1.0, DEPTH, field) == pytest.approx(1 / np.e, rel=1e-3)


def test_speckle_is_fully_developed() -> None:
    amplitude = scans(Optics((1.0,), (0.0,), (0.0,), roll_off_mm=1e6, noise=0.0), -1.0, 2000)
    intensity = amplitude**2
    assert intensity.std() / intensity.mean() == pytest.approx(1.0, rel=0.02)
    assert amplitude.std() / amplitude.mean() == pytest.approx(np.sqrt(4 / np.pi - 1), rel=0.02)


@pytest.mark.parametrize("moved_mm", [0.0, 0.001, 0.004])
def test_speckle_forgets_exponentially_with_the_path_of_the_tip(moved_mm: float) -> None:
    intensity = scans(ONE, -1.0, 400, moved_mm) ** 2
    intensity /= intensity.mean(axis=0)
    # Of a circular Gaussian field, intensities correlate with the square of what the field does (Siegert relation).
    found = ((intensity[1:] - 1) * (intensity[:-1] - 1)).mean() / ((intensity - 1) ** 2).mean()
    if moved_mm == 0:
        np.testing.assert_allclose(intensity[1:], intensity[:-1], rtol=1e-4)
    else:
        assert found == pytest.approx(np.exp(-2 * moved_mm / ONE.decorrelation_mm), abs=0.05)


def test_an_interface_shows_as_a_peak_where_it_is() -> None:
    optics = Optics((0.1,), (0.4,), (2.0,), roll_off_mm=1e6, noise=0.0)
    field = Tomograph(optics, 0).field(np.array([[1.3]]))[0]
    assert DEPTH[int(field.argmax())] == pytest.approx(1.3, abs=RANGE_MM / BINS)


def test_where_nothing_is_there_is_the_noise_of_the_detector() -> None:
    amplitude = scans(Optics((1.0,), (0.4,), (0.0,), noise=0.01), 5.0, 500)
    assert np.sqrt((amplitude**2).mean()) == pytest.approx(0.01, rel=0.03)
    assert np.isfinite(scans(ONE, 5.0, 1)).all()  # no logarithm of zero
