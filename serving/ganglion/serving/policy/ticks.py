"""Samples of a policy that reads none: ticks of the robot's clock, counted into hops as if they were read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Ticks:
    """In the place of a `SensorStream`, with nothing to encode and so nothing to warm up.

    Args:
        hop_samples: samples per hop; 1 for a robot without a sensor, whose messages hold rows without channels.
    """

    newest_frames = None
    warm = True

    def __init__(self, hop_samples: int) -> None:
        self._hop = hop_samples
        self.waiting = 0

    def reset(self) -> None:
        """Forget everything: the next sample is the first."""
        self.waiting = 0

    def push(self, samples: npt.NDArray[np.floating], timings_ms: dict[str, float]) -> tuple[int, bool]:
        """Take (n, channels) samples without a look at them: how many hops are whole now, and that nothing is amiss."""
        hops, self.waiting = divmod(self.waiting + len(samples), self._hop)
        return hops, True
