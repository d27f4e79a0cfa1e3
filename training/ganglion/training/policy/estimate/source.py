"""Data of the shapes that a run's has, without content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ganglion.core.normalization import Normalization, Scale
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.training.estimate.weightless import hollow
from ganglion.training.policy.batch import Batch
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.estimate.shapes import Shapes
from ganglion.training.policy.estimate.views import blank_pictures
from ganglion.training.policy.recorded import EVALUATION_BATCH


class HollowSource:
    """See Source: every batch is one in which all was recorded.

    Args:
        config: of the run.
        shapes: of its data.
        vl: the backbone whose features are read; None without cameras.
        tokens: of VL features that come ready; 0 where a backbone sees pictures.
    """

    def __init__(self, config: PolicyTrainConfig, shapes: Shapes, vl: BackboneFacts | None, tokens: int) -> None:
        self.robot, self.vl = shapes.robot, vl
        dim = self.robot.actions.dim
        self.norm = Normalization(None, Scale(np.zeros(dim, np.float32), np.ones(dim, np.float32)))
        self.facts: dict[str, Any] = {}
        self._config, self._shapes, self._tokens = config, shapes, tokens

    def batch(self, number: int) -> Batch:
        """See Source."""
        return self._batch(self._config.batch_size, self._shapes.reads)

    def weight(self, number: int) -> float:
        """See Source."""
        return float(self._config.batch_size)

    def held_back(self, part: str = "test") -> Iterator[Batch]:
        """See Source."""
        yield self._batch(EVALUATION_BATCH, 1)

    def _batch(self, rows: int, reads: int) -> Batch:
        actions, state = self.robot.actions, self.robot.state
        batch = Batch(
            actions=hollow(rows, reads, actions.horizon, actions.dim),
            real=torch.ones(rows, reads, actions.horizon, dtype=torch.bool),
            weight=hollow(rows),
        )
        if state is not None:
            known = torch.ones(rows, reads, dtype=torch.bool)
            batch = replace(batch, state=hollow(rows, reads, state.dim), state_known=known)
        return self._seen(self._felt(batch, rows, reads), rows, reads)

    def _felt(self, batch: Batch, rows: int, reads: int) -> Batch:
        if not self.robot.sensors or self._config.fusion == "none":
            return batch
        sensor, stride = self.robot.sensors[0], self._shapes.read_hops
        hops, felt = sensor.window_frames + (reads - 1) * stride, rows if self._config.sensor else 0
        return replace(
            batch,
            felt=torch.full((rows,), self._config.sensor),
            samples=hollow(felt, hops * sensor.hop_samples, sensor.channels),
            present=torch.ones(felt, hops, len(sensor.groups), dtype=torch.bool),
            ends=tuple(sensor.window_frames + read * stride for read in range(reads)),
        )

    def _seen(self, batch: Batch, rows: int, reads: int) -> Batch:
        if self.vl is None:
            return batch
        batch = replace(batch, vl_age_s=hollow(rows, reads))
        if not self._tokens:
            return replace(batch, pictures=blank_pictures(self.robot, rows, self._shapes.instruction))
        mask = torch.ones(rows, reads, self._tokens, dtype=torch.bool)
        return replace(batch, vl_features=hollow(rows, reads, self._tokens, self.vl.vl_width), vl_mask=mask)
