"""The synthetic needle as training data: camera frames seen by the VLM once, sensor sequences made as they are needed.

What the tip feels and what the camera sees move independently in this world. So each read of a training sequence meets
a camera frame of its own, of another world, and the expert is asked about that combination: 54 frames per step for the
price of 6 sequences. With the frames that belong to the sequence, nearly alike within it, vision was not learned.
Each window ends a drawn age after its frame, so the policy learns to act on features as old as serving's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec, default_robot
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import describe_backbone
from ganglion.simulation.expert import expert_chunks
from ganglion.simulation.near_peak import NearPeakStream
from ganglion.training.policy.backbone import frame_features
from ganglion.training.policy.batch import Batch
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.source import sensor_batch, tensor
from ganglion.training.policy.statistics import action_scale, sensor_scale, statistics_of

READS, READ_HOPS = 9, 3  # places where a training sequence is read, and hops between them
_WORLDS = 300
_HELD_BACK_WORLD = 500_000  # worlds from here on are never trained on
_SPAN_S = (2.0, 300.0)
_STATISTICS_FRAMES = 64

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Frames:
    """Camera frames: the world (frames,) and time (frames,) of each.

    features  (frames, tokens, width) VL features, None without cameras
    """

    worlds: list[NearPeakStream]
    world: Ints
    time_s: Floats
    features: Tensor | None


class NeedleSource:
    """Imitation of the needle's expert; see Source.

    Raises:
        InputError: the robot has more than one camera, which the synthetic source doesn't train.
    """

    def __init__(self, config: PolicyTrainConfig, robot: RobotSpec | None = None) -> None:
        self.robot = robot or default_robot()
        if len(self.robot.cameras) > 1:
            raise InputError("has more than one camera", where=f"robot {self.robot.name}", remedy="declare one")
        self._config, self._batch_size, self._sensor = config, config.batch_size, self.robot.sensors[0]
        facts = describe_backbone(config.vl.base, config.vl.layer, max_pixels=config.vl.max_pixels)
        backbone = Backbone(facts) if self.robot.cameras else None
        self._train = self._frames(backbone, config.frames, 0, "frames to learn from")
        self._fresh = self._frames(backbone, config.eval_count, _HELD_BACK_WORLD, "fresh frames")
        self.norm = self._statistics()
        self.vl = facts if backbone else None
        self.facts: dict[str, Any] = {"data": config.data}

    def batch(self, number: int) -> Batch:
        """See Source: sequences of some worlds, each read with a frame of another one."""
        rng = np.random.default_rng([self._config.seed, 3, number])
        size = self._batch_size
        felt = rng.integers(len(self._train.worlds), size=size)
        first = (rng.uniform(*_SPAN_S, size) * self._sensor.rate_hz).astype(np.int64)
        seen = rng.integers(len(self._train.world), size=(size, READS))
        return self._batch(self._train, felt, first, seen, self._ages_s(rng, seen.shape))

    def weight(self, number: int) -> float:
        """See Source."""
        return float(self._batch_size)

    def held_back(self, part: str = "test") -> Iterator[Batch]:
        """See Source: frames of worlds never trained on, each with its own world's sensor, read once, as "test"."""
        if part != "test":
            return
        rng, count = np.random.default_rng([self._config.seed, 4]), len(self._fresh.world)
        for rows in np.array_split(np.arange(count), math.ceil(count / 16)):
            ages_s = self._ages_s(rng, rows.shape)
            newest = np.ceil((self._fresh.time_s[rows] + ages_s) * self._sensor.rate_hz).astype(np.int64)
            exact_s = newest / self._sensor.rate_hz - self._fresh.time_s[rows]
            yield self._batch(self._fresh, self._fresh.world[rows], newest, rows[:, None], exact_s[:, None])

    def _ages_s(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        low_ms, high_ms = self._config.vl.age_ms
        return rng.uniform(low_ms, high_ms, shape) / 1e3

    def _frames(self, backbone: Backbone | None, count: int, first_world: int, what: str) -> _Frames:
        rng = np.random.default_rng([self._config.seed, 1, first_world])
        offset = self._config.seed * 1_000_000 + first_world
        worlds = [NearPeakStream(self.robot, offset + index) for index in range(min(count, _WORLDS))]
        world, time_s = np.arange(count) % len(worlds), rng.uniform(*_SPAN_S, count)
        features = None
        if backbone:
            images = [worlds[w].frame(time) for w, time in zip(world, time_s, strict=True)]
            features = frame_features(backbone, images, self._config.instruction, what)
        return _Frames(worlds, world, time_s, features)

    def _batch(self, frames: _Frames, felt: Ints, newest: Ints, seen: Ints, ages_s: Floats) -> Batch:
        """Sequences of the worlds `felt` (B,), read first at sample `newest` (B,) with the frames `seen` (B, R)."""
        rate_hz, hop, window = self._sensor.rate_hz, self._sensor.hop_samples, self._sensor.window_samples
        reads = seen.shape[1]
        stride = READ_HOPS * hop
        samples, actions = [], []
        for world, sample, row, row_ages_s in zip(felt, newest, seen, ages_s, strict=True):
            stream = frames.worlds[world]
            samples.append(stream.samples(sample + 1 - window, window + stride * (reads - 1)))
            state = stream.state((sample + stride * np.arange(reads)) / rate_hz)
            views = [
                frames.worlds[frames.world[index]].state(frames.time_s[[index]] + age_s)
                for index, age_s in zip(row, row_ages_s, strict=True)
            ]
            state = replace(
                state,
                mark_x_mm=np.concatenate([view.mark_x_mm for view in views]),
                mark_y_mm=np.concatenate([view.mark_y_mm for view in views]),
            )
            actions.append(expert_chunks(self.robot.actions, state))
        ends = tuple((window + stride * read) // hop for read in range(reads))
        batch = sensor_batch(self.norm, self._sensor, np.stack(samples), ends, np.stack(actions))
        if frames.features is None:
            return batch
        features = frames.features[torch.as_tensor(seen)]
        mask = torch.ones(features.shape[:3], dtype=torch.bool)
        return replace(batch, vl_features=features, vl_mask=mask, vl_age_s=tensor(ages_s))

    def _statistics(self) -> Normalization:
        frames, hop, dim = self._train, self._sensor.hop_samples, self.robot.actions.dim
        where = [(frames.worlds[w], time) for w, time in zip(frames.world, frames.time_s, strict=True)]
        firsts = [(world, int(time * self._sensor.rate_hz)) for world, time in where[:_STATISTICS_FRAMES]]
        samples = np.concatenate([world.samples(first, hop) for world, first in firsts])
        chunks = np.concatenate([world.chunk(time).reshape(-1, dim) for world, time in where])
        return Normalization(
            sensor_scale(statistics_of(samples), self._sensor), action_scale(statistics_of(chunks), self.robot.actions)
        )
