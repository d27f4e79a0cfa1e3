"""Smooth curves between points, and smoothing: what the gait plan is made of."""

from __future__ import annotations

import numpy as np

from ganglion.simulation.exo_walk.ground import Floats


def ease(share: Floats) -> Floats:
    """0 to 1 with no velocity and no acceleration at either end (minimum jerk; Flash and Hogan 1985)."""
    s = np.clip(share, 0.0, 1.0)
    eased: Floats = s**3 * (10 - 15 * s + 6 * s**2)
    return eased


def reach(start: float, velocity: float, end: float, seconds: float, at_s: Floats) -> Floats:
    """From `start` with `velocity` to rest at `end` in `seconds`: the cubic, which of all curves accelerates least."""
    s = np.clip(at_s / seconds, 0.0, 1.0)
    path: Floats = start + (end - start) * s**2 * (3 - 2 * s) + velocity * seconds * s * (1 - s) ** 2
    return path


def smooth(values: Floats, sigma_samples: float) -> Floats:
    """Gaussian smoothing along the first axis, ends held."""
    half = int(np.ceil(3 * sigma_samples))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma_samples) ** 2)
    kernel /= kernel.sum()
    columns = values.reshape(len(values), -1)
    padded = np.pad(columns, ((half, half), (0, 0)), mode="edge")
    smoothed = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    result: Floats = smoothed.reshape(values.shape)
    return result


def lower_envelope(values: Floats, half_samples: int) -> Floats:
    """The smallest value within `half_samples` of each place, smoothed so that it still stays at or below `values`."""
    padded = np.pad(values, half_samples, mode="edge")
    least = np.lib.stride_tricks.sliding_window_view(padded, 2 * half_samples + 1).min(axis=1)
    return smooth(least, half_samples / 3.001)
