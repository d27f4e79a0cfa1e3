"""What a policy learns from: any data that can give batches, each a pure function of its number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec, SensorSpec
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.training.policy.batch import Batch

Floats = npt.NDArray[np.floating]


class Source(Protocol):
    """Training and evaluation data for one robot.

    norm           scaling from training data only
    vl             the backbone whose features are read, None without cameras
    facts          what run.json should say of the data
    """

    robot: RobotSpec
    norm: Normalization
    vl: BackboneFacts | None
    facts: dict[str, Any]

    def batch(self, number: int) -> Batch:
        """The training batch of that number: the same whenever and by whichever process it is asked for."""

    def weight(self, number: int) -> float:
        """The sum of that batch's weights, without making it."""

    def held_back(self, part: str = "test") -> Iterator[Batch]:
        """All data of a part that is never trained on: "test" to score on, "validation" to choose weights by."""


def tensor(array: Any) -> Tensor:
    """A float32 tensor of a numpy array."""
    return torch.as_tensor(array, dtype=torch.float32)


def sensor_batch(
    norm: Normalization, sensor: SensorSpec, samples: Floats, ends: tuple[int, ...], actions: Floats
) -> Batch:
    """A batch of sequences in which all was recorded and every row of each chunk is real.

    Args:
        norm: scales samples and actions.
        sensor: whose samples they are.
        samples: (B, T, channels) in units.
        ends: frame numbers at which each is read, R of them.
        actions: (B, R, horizon, dim) in units.
    """
    assert norm.sensor is not None
    rows, hops = len(samples), samples.shape[1] // sensor.hop_samples
    return Batch(
        actions=tensor(norm.action.normalize(actions)),
        real=torch.ones(actions.shape[:3], dtype=torch.bool),
        weight=torch.ones(rows),
        felt=torch.ones(rows, dtype=torch.bool),
        samples=tensor(norm.sensor.normalize(samples)),
        present=torch.ones(rows, hops, len(sensor.groups), dtype=torch.bool),
        ends=ends,
    )
