"""The scaling that norm.json fixes: means and standard deviations of training data, with a floor under each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ganglion.core.normalization import Scale
from ganglion.core.specs import ActionSpec, SensorSpec

_SENSOR_FLOOR = 0.5  # of its group's deviation: a channel that hardly moves isn't blown up beside its neighbors
_ACTION_FLOOR = 1e-3  # of the dimension's range: one that rests stays at rest


def sensor_scale(samples: npt.NDArray[np.floating], spec: SensorSpec) -> Scale:
    """The scale of (count, channels) samples."""
    mean, std = samples.mean(0, dtype=np.float64), samples.std(0, dtype=np.float64)
    start = 0
    for group in spec.groups:
        own = slice(start, start + group.channels)
        std[own] = np.maximum(std[own], max(_SENSOR_FLOOR * float(np.sqrt(np.mean(std[own] ** 2))), 1e-6))
        start += group.channels
    return Scale(mean.astype(np.float32), std.astype(np.float32))


def action_scale(actions: npt.NDArray[np.floating], spec: ActionSpec) -> Scale:
    """The scale of (count, dim) actions."""
    floor = _ACTION_FLOOR * (np.asarray(spec.high) - np.asarray(spec.low))
    mean, std = actions.mean(0, dtype=np.float64), actions.std(0, dtype=np.float64)
    return Scale(mean.astype(np.float32), np.maximum(std, floor).astype(np.float32))
