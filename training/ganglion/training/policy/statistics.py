"""The scaling that norm.json fixes: means and standard deviations of training data, with a floor under each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ganglion.core.normalization import Scale
from ganglion.core.specs import ActionSpec

_SENSOR_FLOOR = 0.05  # of the median channel's deviation: a channel that hardly moves isn't blown up into noise
_ACTION_FLOOR = 1e-3  # of the dimension's range: one that rests stays at rest


def sensor_scale(samples: npt.NDArray[np.floating]) -> Scale:
    """The scale of (count, channels) samples."""
    mean, std = samples.mean(0, dtype=np.float64), samples.std(0, dtype=np.float64)
    floor = max(_SENSOR_FLOOR * float(np.median(std)), 1e-6)
    return Scale(mean.astype(np.float32), np.maximum(std, floor).astype(np.float32))


def action_scale(actions: npt.NDArray[np.floating], spec: ActionSpec) -> Scale:
    """The scale of (count, dim) actions."""
    floor = _ACTION_FLOOR * (np.asarray(spec.high) - np.asarray(spec.low))
    mean, std = actions.mean(0, dtype=np.float64), actions.std(0, dtype=np.float64)
    return Scale(mean.astype(np.float32), np.maximum(std, floor).astype(np.float32))
