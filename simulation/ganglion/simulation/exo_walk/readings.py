"""What the sensors make of the truth: offsets, gains, slow drift and noise, by the walk's seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ganglion.simulation.exo_walk.ground import Floats
from ganglion.simulation.exo_walk.walk import Walk

# Of angle (rad), velocity (rad/s), interaction torque (N m) and foot force (N), each channel.
_NOISE = np.repeat([0.003, 0.05, 0.2, 4.0], 4)
_DRIFT_PER_SQRT_S = np.repeat([0.001, 0.0, 0.05, 2.0], 4)
_RATE_HZ = 650.0


class Readings:
    """The sensors of one walk."""

    def __init__(self, walk: Walk) -> None:
        self._rng = np.random.default_rng([walk.seed, 2])
        self._offset = np.concatenate([walk.angle_offset_rad, np.zeros(4), walk.torque_offset_nm, np.zeros(4)])
        self._gain = np.concatenate([np.ones(12), walk.force_gain])
        self._drift = np.zeros(16)

    def read(self, true: Floats) -> npt.NDArray[np.float32]:
        """(samples, 16) true values -> float32 readings; foot force is never below zero."""
        steps = self._rng.normal(0.0, 1.0, true.shape) * _DRIFT_PER_SQRT_S / np.sqrt(_RATE_HZ)
        drift = self._drift + np.cumsum(steps, axis=0)
        self._drift = drift[-1]
        read = self._gain * true + self._offset + drift + self._rng.normal(0.0, 1.0, true.shape) * _NOISE
        read[:, 12:] = np.maximum(read[:, 12:], 0.0)
        samples: npt.NDArray[np.float32] = read.astype(np.float32)
        return samples
