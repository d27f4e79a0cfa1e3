"""The synthetic needle as training data: camera frames seen by the VLM once, sensor sequences made as they are needed.

A clip is a stretch of one world with a few camera frames, spaced by the range of ages. A sequence that uses it starts
at a drawn offset, so each read meets features that are as old as they will be when the policy is served.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec, default_robot
from ganglion.simulation.near_peak import NearPeakStream
from ganglion.training.policy.backbone import Backbone
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.source import Batch, tensor
from ganglion.training.policy.statistics import action_scale, sensor_scale

_READS, _READ_HOPS = 9, 3  # places where a training sequence is read, and hops between them
_WORLDS = 300
_HELD_BACK_WORLD = 500_000  # worlds from here on are never trained on
_SPAN_S = (2.0, 300.0)
_STATISTICS_CLIPS = 64


@dataclass(frozen=True)
class _Clips:
    """Stretches of worlds with camera frames.

    worlds    the worlds that the clips are from
    world     (clips,) index of each one's world
    start_s   (clips,) time of its first frame
    features  (clips, frames, tokens, width) VL features, None without cameras
    reads     places where a sequence is read
    """

    worlds: list[NearPeakStream]
    world: npt.NDArray[np.int64]
    start_s: npt.NDArray[np.float64]
    features: Tensor | None
    reads: int


class NeedleSource:
    """Imitation of the needle's expert; see Source.

    Raises:
        InputError: the robot has more than one camera, which the synthetic source doesn't train.
    """

    default_steps = 300

    def __init__(self, config: PolicyTrainConfig, robot: RobotSpec | None = None) -> None:
        self.robot = robot or default_robot()
        if len(self.robot.cameras) > 1:
            raise InputError("has more than one camera", where=f"robot {self.robot.name}", remedy="declare one")
        self._config, self._sensor = config, self.robot.sensors[0]
        low_ms, high_ms = config.vl_age_ms
        self._low_s, self._spacing_s = low_ms / 1e3, (high_ms - low_ms) / 1e3
        backbone = None
        if self.robot.cameras:
            self._spacing_s = max(self._spacing_s, 1 / self.robot.cameras[0].rate_hz)
            backbone = Backbone(config.base, config.vl_layer, config.instruction)
        per_clip = self._frames(_READS)
        self._train = self._clips(backbone, max(config.frames // per_clip, 1), _READS, 0, "frames to learn from")
        self._fresh = self._clips(backbone, config.eval_count, 1, _HELD_BACK_WORLD, "fresh frames")
        self.vl_width = 0 if self._train.features is None else self._train.features.shape[-1]
        self.norm = self._statistics()
        self.facts: dict[str, Any] = {"data": config.data, **(backbone.facts if backbone else {"base": None})}

    def batch(self, step: int) -> Batch:
        """See Source."""
        rng = np.random.default_rng([self._config.seed, 3, step])
        chosen = rng.integers(len(self._train.world), size=self._config.batch_size)
        return self._batch(self._train, chosen, rng)

    def held_back(self) -> Iterator[Batch]:
        """See Source: clips of worlds never trained on, read once each."""
        rng = np.random.default_rng([self._config.seed, 4])
        for part in np.array_split(np.arange(len(self._fresh.world)), math.ceil(len(self._fresh.world) / 16)):
            yield self._batch(self._fresh, part, rng)

    def _frames(self, reads: int) -> int:
        """Camera frames of a clip whose sequences are read so often: each read finds one at least low_s old."""
        return math.ceil((reads - 1) * _READ_HOPS * self._sensor.hop_ms / 1e3 / self._spacing_s) + 1

    def _clips(self, backbone: Backbone | None, count: int, reads: int, first_world: int, what: str) -> _Clips:
        rng = np.random.default_rng([self._config.seed, 1, first_world])
        offset = self._config.seed * 1_000_000 + first_world
        worlds = [NearPeakStream(self.robot, offset + index) for index in range(min(count, _WORLDS))]
        world, start_s = np.arange(count) % len(worlds), rng.uniform(*_SPAN_S, count)
        features = None
        if backbone:
            times = start_s[:, None] + self._spacing_s * np.arange(self._frames(reads))
            frames = [worlds[w].frame(time) for w, row in zip(world, times, strict=True) for time in row]
            features = backbone.features(frames, what)
            features = features.reshape(*times.shape, *features.shape[1:])
        return _Clips(worlds, world, start_s, features, reads)

    def _batch(self, clips: _Clips, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> Batch:
        rate_hz, hop, window = self._sensor.rate_hz, self._sensor.hop_samples, self._sensor.window_samples
        stride = _READ_HOPS * hop
        offsets_s = self._low_s + self._spacing_s * rng.random(len(chosen))
        newest = np.ceil((clips.start_s[chosen] + offsets_s) * rate_hz).astype(np.int64)  # sample of the first read
        reads = newest[:, None] + stride * np.arange(clips.reads)
        streams = [clips.worlds[index] for index in clips.world[chosen]]
        total = window + stride * (clips.reads - 1)
        samples = np.stack([s.samples(n + 1 - window, total) for s, n in zip(streams, newest, strict=True)])
        actions = np.stack([s.chunks(row / rate_hz) for s, row in zip(streams, reads, strict=True)])
        ends = tuple((window + stride * read) // hop for read in range(clips.reads))
        batch = Batch(tensor(self.norm.sensor.normalize(samples)), ends, tensor(self.norm.action.normalize(actions)))
        if clips.features is None:
            return batch
        since_s = reads / rate_hz - clips.start_s[chosen, None]
        seen = np.minimum((since_s - self._low_s) // self._spacing_s, clips.features.shape[1] - 1).astype(np.int64)
        features = clips.features[torch.as_tensor(chosen)[:, None], torch.as_tensor(seen)]
        return Batch(batch.samples, ends, batch.actions, features, tensor(since_s - seen * self._spacing_s))

    def _statistics(self) -> Normalization:
        clips, hop, dim = self._train, self._sensor.hop_samples, self.robot.actions.dim
        where = [(clips.worlds[w], time) for w, time in zip(clips.world, clips.start_s, strict=True)]
        firsts = [(world, int(time * self._sensor.rate_hz)) for world, time in where[:_STATISTICS_CLIPS]]
        samples = np.concatenate([world.samples(first, hop) for world, first in firsts])
        chunks = np.concatenate([world.chunk(time).reshape(-1, dim) for world, time in where])
        return Normalization(sensor_scale(samples, self._sensor), action_scale(chunks, self.robot.actions))
