"""What LeRobot keeps of each feature's values, per episode and of all: to normalize by, and to merge data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Statistics = dict[str, npt.NDArray[Any]]
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_AT_ONCE = 4096  # readings


def of_readings(values: npt.NDArray[Any]) -> Statistics:
    """Statistics of each column of (readings, columns); quantiles are of at most 4096 readings, evenly spaced.

    Without a reading all are 0, of count 0.
    """
    count = len(values)
    values = values if count else np.zeros((1, *values.shape[1:]))
    first = values[0].astype(np.float64)
    low, high, total, squares = first, first, np.zeros_like(first), np.zeros_like(first)
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE].astype(np.float64)
        low, high = np.minimum(low, some.min(axis=0)), np.maximum(high, some.max(axis=0))
        some -= first  # so that squares keep their digits
        total, squares = total + some.sum(axis=0), squares + (some**2).sum(axis=0)
    shift = total / len(values)
    spaced = np.linspace(0, len(values) - 1, min(len(values), _AT_ONCE)).round().astype(np.int64)
    quantiles = np.quantile(values[spaced].astype(np.float64), list(_QUANTILES.values()), axis=0)
    return {
        "min": low,
        "max": high,
        "mean": first + shift,
        "std": np.sqrt((squares / len(values) - shift**2).clip(min=0)),
        "count": np.array([count]),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
    }


def of_frames(histogram: npt.NDArray[np.int64], count: int) -> Statistics:
    """Statistics of a camera's colors in 0 to 1, each (3, 1, 1); without a frame those of black, of count 0.

    Args:
        histogram: (3, 256), how often each color has each value.
        count: frames that were counted.
    """
    levels = np.arange(256) / 255
    histogram = histogram if count else np.eye(1, 256, dtype=np.int64).repeat(3, axis=0)
    shares = histogram / histogram.sum(axis=1, keepdims=True)
    mean = shares @ levels
    there = histogram > 0
    found: Statistics = {
        "min": levels[there.argmax(axis=1)],
        "max": levels[255 - there[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1)),
    }
    reached = shares.cumsum(axis=1)
    found |= {name: levels[(reached < share).sum(axis=1).clip(max=255)] for name, share in _QUANTILES.items()}
    return {name: value.reshape(3, 1, 1) for name, value in found.items()} | {"count": np.array([count])}


def together(one: Statistics | None, other: Statistics) -> Statistics:
    """Statistics of both, as LeRobot puts them together: quantiles are means of quantiles."""
    if one is None or not one["count"][0]:
        return other
    if not other["count"][0]:
        return one
    counts = one["count"], other["count"]
    both = counts[0] + counts[1]
    mean = (one["mean"] * counts[0] + other["mean"] * counts[1]) / both
    spread = sum(
        (part["std"] ** 2 + (part["mean"] - mean) ** 2) * count
        for part, count in zip((one, other), counts, strict=True)
    )
    quantiles = {name: (one[name] * counts[0] + other[name] * counts[1]) / both for name in _QUANTILES}
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": mean,
        "std": np.sqrt(spread / both),
        "count": both,
        **quantiles,
    }
