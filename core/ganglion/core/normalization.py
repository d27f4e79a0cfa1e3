"""norm.json: the scaling between a robot's units and a policy's, fixed at training and never recomputed at serving."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import BundleError
from ganglion.core.paths import write_json

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """(value - mean) / std per channel; both (channels,) float32, std > 0."""

    mean: Array
    std: Array

    def normalize(self, values: npt.NDArray[np.floating]) -> Array:
        """(..., channels) in units -> (..., channels) scaled, float32."""
        return (values.astype(np.float32) - self.mean) / self.std

    def denormalize(self, values: Array) -> Array:
        """(..., channels) scaled -> (..., channels) in units, float32."""
        return values * self.std + self.mean


@dataclass(frozen=True)
class Normalization:
    """Scales of the policy's sensor channels, action dimensions and state; None for what it does not read."""

    sensor: Scale | None
    action: Scale
    state: Scale | None = None


def write_normalization(path: Path, norm: Normalization) -> None:
    """Write norm.json atomically."""
    parts = {"sensor": norm.sensor, "action": norm.action, "state": norm.state}
    write_json(
        path,
        {part: scale and {"mean": scale.mean.tolist(), "std": scale.std.tolist()} for part, scale in parts.items()},
    )


def read_normalization(path: Path) -> Normalization:
    """Read norm.json.

    Raises:
        BundleError: it is missing or not finite, or a standard deviation is not positive.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        sensor, state = (None if data.get(part) is None else _scale(data[part]) for part in ("sensor", "state"))
        return Normalization(sensor, _scale(data["action"]), state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"is no normalization ({error})", where=path, remedy="export again") from error


def _scale(data: Mapping[str, Any]) -> Scale:
    scale = Scale(np.asarray(data["mean"], np.float32), np.asarray(data["std"], np.float32))
    if scale.mean.ndim != 1 or scale.mean.shape != scale.std.shape:
        raise ValueError(f"mean {scale.mean.shape} and std {scale.std.shape} differ")
    if not (np.isfinite(scale.mean).all() and np.isfinite(scale.std).all() and (scale.std > 0).all()):
        raise ValueError("a mean or std is not finite or not positive")
    return scale
