"""Learning rates: warm-up, hold, cosine down to a floor, and a second warm-up (ReWarm) after a run was interrupted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Schedule:
    """What the rate of a parameter group is, as a function of the step alone and of where the run was taken up again.

    steps         of the whole run
    warmup        share of them until the peak
    hold          share of them at the peak
    floor         rate at the end, the same for every group
    epoch_steps   steps of an epoch; None where the data has no epochs
    by_epoch      change rates from epoch to epoch, not from step to step
    rewarm_steps  steps in which the rate grows back after a resumption; 0 goes on as if nothing had happened
    """

    steps: int
    warmup: float = 0.03
    hold: float = 0.02
    floor: float = 1e-6
    epoch_steps: int | None = None
    by_epoch: bool = False
    rewarm_steps: int = 0

    def rate(self, peak: float, step: int, resumed: int | None = None) -> float:
        """The rate of a step, for a group with that peak, in a run resumed before step `resumed`."""
        unit = (self.by_epoch and self.epoch_steps) or 1
        at = step // unit * unit
        warmup, hold = round(self.warmup * self.steps), round(self.hold * self.steps)
        if at < warmup:
            rate = peak * (at + unit) / (warmup + unit)
        elif at < warmup + hold:
            rate = peak
        else:
            floor = min(self.floor, peak)
            done = min(1.0, (at - warmup - hold) / max(1, self.steps - warmup - hold))
            rate = floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
        if resumed is not None and step - resumed < self.rewarm_steps:
            rate *= (step - resumed + 1) / self.rewarm_steps
        return rate

    def curve(self, peak: float, resumed: int | None = None) -> npt.NDArray[np.float64]:
        """The rates of all steps."""
        return np.array([self.rate(peak, step, resumed) for step in range(self.steps)])
