"""Where the synthetic needle is at any time: smooth, drawn once per seed, and pure, so that processes agree on it.

The world moves by itself: nothing that is commanded changes it. It trains and exercises a policy; it can't show that a
policy closes a loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_GAP_CENTER_MM, _GAP_SWING_MM = 0.6, 1.4
_MARK_SWING_MM = 6.0
_GAP_HZ, _MARK_HZ = (0.06, 0.4), (0.03, 0.15)


@dataclass(frozen=True)
class NeedleState:
    """The world at some times, each array (times,) float64.

    gap_mm     distance from the needle's tip to the interface ahead, 0 while it touches
    push_mm    how far the tip has pushed the interface in, 0 while there is a gap
    mark_x_mm  where the bright mark lies beside the needle's axis
    mark_y_mm  the same, across
    """

    gap_mm: Floats
    push_mm: Floats
    mark_x_mm: Floats
    mark_y_mm: Floats


class NeedleWorld:
    """The world of one seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self._gap = _Drift(rng, _GAP_HZ)
        self._mark_x = _Drift(rng, _MARK_HZ)
        self._mark_y = _Drift(rng, _MARK_HZ)

    def at(self, times_s: Floats) -> NeedleState:
        """The state at each time, (times,) seconds since the start."""
        depth = _GAP_CENTER_MM + _GAP_SWING_MM * self._gap.at(times_s)
        return NeedleState(
            gap_mm=np.maximum(depth, 0.0),
            push_mm=np.maximum(-depth, 0.0),
            mark_x_mm=_MARK_SWING_MM * self._mark_x.at(times_s),
            mark_y_mm=_MARK_SWING_MM * self._mark_y.at(times_s),
        )


class _Drift:
    """A smooth wandering within -1 and 1: three sines whose frequencies and phases the seed draws."""

    def __init__(self, rng: np.random.Generator, band_hz: tuple[float, float]) -> None:
        self._omega = 2 * np.pi * rng.uniform(*band_hz, size=3)
        self._phase = rng.uniform(0, 2 * np.pi, size=3)
        self._weight = np.array([0.5, 0.3, 0.2])

    def at(self, times_s: Floats) -> Floats:
        """(times,) seconds -> (times,) between -1 and 1."""
        # Summed term by term, so that a time's value doesn't depend on how many are asked for at once.
        terms = self._weight * np.sin(times_s[:, None] * self._omega + self._phase)
        drift: Floats = terms[:, 0] + terms[:, 1] + terms[:, 2]
        return drift
