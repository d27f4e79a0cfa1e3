"""What a policy learns from: any data that can give batches, each a pure function of its number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec
from ganglion.model.policy.policy import VLAPolicy


@dataclass(frozen=True)
class Batch:
    """Sensor sequences, read at R places each, with what to do there; all normalized.

    One sequence a little longer than a window is encoded once and read often, which costs far less than R windows.

    samples      (B, T, channels) float32, whole hops
    ends         R frame numbers: a read sees the frames before it, at least a window of them
    actions      (B, R, horizon, dim) float32
    vl_features  (B, R, tokens, width) float32, None for a robot without cameras, as is the age
    vl_age_s     (B, R) float32, age of the features at each read
    """

    samples: Tensor
    ends: tuple[int, ...]
    actions: Tensor
    vl_features: Tensor | None = None
    vl_age_s: Tensor | None = None


def predict(policy: VLAPolicy, batch: Batch) -> Tensor:
    """What the policy would do at each read: (B, R, horizon, dim) normalized."""
    frames, count = policy.encoder(batch.samples), policy.config.read_frames
    reads = torch.stack([frames[:, end - count : end] for end in batch.ends], dim=1).flatten(0, 1)
    if batch.vl_features is None or batch.vl_age_s is None:
        actions: Tensor = policy.expert(reads)
    else:
        features = batch.vl_features.flatten(0, 1)
        mask = torch.ones(features.shape[:2])
        actions = policy.expert(reads, features, mask, batch.vl_age_s.flatten())
    return actions.reshape(batch.actions.shape)


class Source(Protocol):
    """Training and evaluation data for one robot.

    norm           scaling from training data only
    vl_width       features of a VL token, 0 without cameras
    facts          what run.json should say of the data and the base
    """

    robot: RobotSpec
    norm: Normalization
    vl_width: int
    facts: dict[str, Any]

    def batch(self, step: int) -> Batch:
        """The training batch of a step: the same whenever it is asked for."""

    def held_back(self) -> Iterator[Batch]:
        """All of the data that the policy is scored on and never trained on."""


def tensor(array: Any) -> Tensor:
    """A float32 tensor of a numpy array."""
    return torch.as_tensor(array, dtype=torch.float32)
