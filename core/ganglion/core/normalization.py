"""norm.json: the scaling between a robot's units and a policy's, fixed at training and never recomputed at serving."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Scales of the policy's sensor channels and of its action dimensions."""

    sensor: Scale
    action: Scale


def write_normalization(path: Path, norm: Normalization) -> None:
    """Write norm.json atomically."""
    write_json(
        path,
        {
            part: {"mean": scale.mean.tolist(), "std": scale.std.tolist()}
            for part, scale in (("sensor", norm.sensor), ("action", norm.action))
        },
    )


def read_normalization(path: Path) -> Normalization:
    """Read norm.json.

    Raises:
        BundleError: it is missing or not finite, or a standard deviation is not positive.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Normalization(*(_scale(data[part]["mean"], data[part]["std"]) for part in ("sensor", "action")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"is no normalization ({error})", where=path, remedy="export again") from error


def _scale(mean: Sequence[float], std: Sequence[float]) -> Scale:
    scale = Scale(np.asarray(mean, np.float32), np.asarray(std, np.float32))
    if scale.mean.ndim != 1 or scale.mean.shape != scale.std.shape:
        raise ValueError(f"mean {scale.mean.shape} and std {scale.std.shape} differ")
    if not (np.isfinite(scale.mean).all() and np.isfinite(scale.std).all() and (scale.std > 0).all()):
        raise ValueError("a mean or std is not finite or not positive")
    return scale
