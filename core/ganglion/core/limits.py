"""Limits that nothing gets around: a command stays in range and changes by at most so much per second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import ActionSpec

Action = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """An ActionSpec's limits as (dim,) arrays. rate_like: dimensions whose unit is per second (velocities)."""

    low: Action
    high: Action
    max_rate: Action
    rate_like: npt.NDArray[np.bool_]

    @staticmethod
    def of(actions: ActionSpec) -> Limits:
        """The limits of a spec."""
        return Limits(
            low=np.asarray(actions.low, np.float64),
            high=np.asarray(actions.high, np.float64),
            max_rate=np.asarray(actions.max_rate, np.float64),
            rate_like=np.array([unit.endswith("/s") for unit in actions.units]),
        )

    def at_rest(self, previous: Action) -> Action:
        """What holding means: velocities go to zero, positions and forces stay."""
        return np.clip(np.where(self.rate_like, 0.0, previous), self.low, self.high)


def limit(target: Action, previous: Action, dt_s: float, limits: Limits) -> Action:
    """The nearest command to `target` that is in range and at most max_rate * dt_s from `previous`.

    All (dim,). `previous` is in range. A dimension whose target is not a number keeps its previous value.
    """
    step = limits.max_rate * max(dt_s, 0.0)
    wanted = np.where(np.isnan(target), previous, target)
    bounded = np.clip(wanted, np.maximum(limits.low, previous - step), np.minimum(limits.high, previous + step))
    return np.asarray(bounded, np.float64)
