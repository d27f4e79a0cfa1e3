"""What the sensor at the needle's tip reads: force on contact, and an A-scan in dB with a near peak at the interface.

The A-scan holds the interface's peak, attenuating back-scatter behind it, a deeper and weaker layer, multiplicative
speckle and a noise floor. Noise comes from one fixed bank, entered at a row and an offset hashed from seed and sample
number: as cheap as a copy, and the same for whoever asks.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import SensorSpec
from ganglion.simulation.needle_world import Floats, NeedleState

Array = npt.NDArray[np.float32]

FORCE_N_PER_MM = 2.0
FORCE_N_PER_MM2 = 3.0
SCAN_RANGE_MM = 3.0
TIP_OFFSET_MM = 0.15  # depth at which a touching interface appears
_PEAK_WIDTH_MM = 0.03
_NOISE_FLOOR = 0.01
_FORCE_NOISE_N = 0.02
_BANK_ROWS = 64
_DB = 20.0 / np.log(10.0)


def contact_force(push_mm: Floats) -> Floats:
    """Axial force in newtons at a push of (times,) millimeters: an elastic interface that stiffens."""
    return FORCE_N_PER_MM * push_mm + FORCE_N_PER_MM2 * push_mm**2


class TipSensor:
    """Readings of one seed's sensor: the spec's first group reads force (N), the last the A-scan (dB).

    A spec with one group has an A-scan only; groups in between read noise around zero.
    """

    def __init__(self, spec: SensorSpec, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self._seed = np.uint64(seed % 2**32)
        self._channels = spec.channels
        self._bins = spec.groups[-1].channels
        self._force_channels = spec.groups[0].channels if len(spec.groups) > 1 else 0
        self._depth = (np.arange(self._bins, dtype=np.float32) + 0.5) * np.float32(SCAN_RANGE_MM / self._bins)
        self._bank = _noise_bank(self._channels)
        self._peak, self._deep_peak, self._scatter = rng.uniform((2.0, 0.2, 0.15), (4.0, 0.6, 0.3)).astype(np.float32)
        self._layer_mm = np.float32(rng.uniform(0.5, 1.1))
        self._fade = np.exp(-np.float32(rng.uniform(0.9, 1.6)) * self._depth)

    def read(self, numbers: npt.NDArray[np.int64], state: NeedleState) -> Array:
        """Samples of those numbers, taken in those states: (times, channels) float32."""
        out = np.zeros((len(numbers), self._channels), np.float32)
        speckle, noise = self._draw(numbers, 1), self._draw(numbers, 2)
        front = self._channels - self._bins
        out[:, :front] = np.float32(_FORCE_NOISE_N) * (speckle[:, :front] - noise[:, :front])
        out[:, : self._force_channels] += contact_force(state.push_mm)[:, None].astype(np.float32)
        surface = (state.gap_mm + TIP_OFFSET_MM).astype(np.float32)[:, None]
        amplitude = self._echo(surface) * speckle[:, front:] + np.float32(_NOISE_FLOOR) * noise[:, front:]
        out[:, front:] = np.float32(_DB) * np.log(amplitude + np.float32(1e-3))
        return out

    def _echo(self, surface: Array) -> Array:
        """Echo amplitude over depth for interfaces at (times, 1) millimeters: (times, bins)."""
        behind = self._depth - surface
        near = self._peak * np.exp(-((behind / np.float32(_PEAK_WIDTH_MM)) ** 2))
        deep = self._deep_peak * np.exp(-(((behind - self._layer_mm) / np.float32(2 * _PEAK_WIDTH_MM)) ** 2))
        # exp(-mu * behind) from the faded depth axis: one product instead of another exponential.
        at_surface = np.interp(surface[:, 0], self._depth, self._fade).astype(np.float32)[:, None]
        tissue = np.where(behind > 0, self._scatter * self._fade / at_surface, np.float32(0))
        echo: Array = near + deep + tissue
        return echo

    def _draw(self, numbers: npt.NDArray[np.int64], stream: int) -> Array:
        """Rayleigh noise of mean square 1, (times, channels), fixed by seed, sample number and stream."""
        mixed = (numbers.astype(np.uint64) * np.uint64(2) + np.uint64(stream)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= (mixed >> np.uint64(29)) ^ (self._seed * np.uint64(0xBF58476D1CE4E5B9 % 2**31))
        mixed *= np.uint64(0x94D049BB133111EB)
        rows = (mixed >> np.uint64(58)) % np.uint64(_BANK_ROWS)
        starts = (mixed >> np.uint64(24)) % np.uint64(self._channels)
        drawn = np.empty((len(numbers), self._channels), np.float32)
        for index, (row, start) in enumerate(zip(rows.tolist(), starts.tolist(), strict=True)):
            drawn[index] = self._bank[row, start : start + self._channels]
        return drawn


@functools.cache
def _noise_bank(channels: int) -> Array:
    """Rayleigh noise of mean square 1, (_BANK_ROWS, 2 * channels): any offset below `channels` is a sample."""
    rng = np.random.default_rng(0)
    return rng.rayleigh(1 / np.sqrt(2), (_BANK_ROWS, 2 * channels)).astype(np.float32)
