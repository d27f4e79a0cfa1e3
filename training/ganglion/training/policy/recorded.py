"""Recorded demonstrations as training data: sets of episodes, with and without sensors, met in one exact order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.model.backbone.facts import BackboneFacts
from ganglion.training.demonstrations.cutting import (
    SensorWindow,
    Views,
    cut_chunk,
    cut_state,
    cut_window,
    episode_views,
    view_at,
)
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.episode_set import EpisodeSet, split_sessions
from ganglion.training.policy.batch import Batch, Pictures
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.moments import Moments, Order, join_moments
from ganglion.training.policy.robots import common_robot
from ganglion.training.policy.source import tensor
from ganglion.training.policy.statistics import recorded_normalization

Features = Callable[[int, int], Tensor]
EVALUATION_BATCH = 16
_DRAW, _HELD_BACK = 11, 12  # streams of random numbers


class RecordedSource:
    """See Source.

    Args:
        config: names the sets, and how moments are drawn.
        vl: the backbone whose features are read; None where cameras are not looked at.
        features: for each set (episode, view) -> VL features (tokens, vl_width); empty where a backbone is to see.

    Raises:
        InputError: a set can't be read, sets are of robots that differ, or a side of the split is empty.
    """

    def __init__(
        self, config: PolicyTrainConfig, vl: BackboneFacts | None = None, features: Sequence[Features] = ()
    ) -> None:
        self._config, self.vl, self._features = config, vl, features
        self.vl_width = vl.vl_width if vl else 0
        self._sets = [EpisodeSet(Path(folder)) for folder in config.folders]
        self.robot = common_robot([(str(s.folder), s.robot) for s in self._sets])
        self._sensor = self.robot.sensors[0] if self.robot.sensors and config.fusion != "none" else None
        parts = [self._split(number) for number in range(len(self._sets))]
        self._train, self._validation, self._test = (join_moments(side) for side in zip(*parts, strict=True))
        self._order = Order(self._train.felt, config.sensor_share, config.seed)
        self._views = functools.lru_cache(4096)(self._find_views)
        self.norm = recorded_normalization(self.robot, self._sensor, self._train_episodes())
        self.facts: dict[str, Any] = {
            "data": [str(folder) for folder in config.folders],
            "moments": {"train": len(self._train), "with_sensor": int(self._train.felt.sum())},
            "epoch_length": self._order.epoch_length,
        }

    @property
    def epoch_length(self) -> int:
        """Moments met in one epoch, repetitions included."""
        return self._order.epoch_length

    def batch(self, number: int) -> Batch:
        """See Source."""
        size = self._config.batch_size
        positions = range(number * size, (number + 1) * size)
        draws = [np.random.default_rng([self._config.seed, _DRAW, position]) for position in positions]
        return self._batch(self._train, [self._order[position] for position in positions], draws, training=True)

    def weight(self, number: int) -> float:
        """See Source."""
        size = self._config.batch_size
        rows = [self._order[position] for position in range(number * size, (number + 1) * size)]
        return float(self._weights(self._train.felt[rows]).sum())

    def held_back(self, part: str = "test") -> Iterator[Batch]:
        """See Source."""
        moments = self._validation if part == "validation" else self._test
        count = min(len(moments), self._config.eval_count)
        rows = np.unique(np.linspace(0, len(moments) - 1, count).astype(np.int64)) if count else np.zeros(0, np.int64)
        for start in range(0, len(rows), EVALUATION_BATCH):
            chosen = [int(row) for row in rows[start : start + EVALUATION_BATCH]]
            draws = [np.random.default_rng([self._config.seed, _HELD_BACK, row]) for row in chosen]
            yield self._batch(moments, chosen, draws, training=False)

    def _batch(
        self, moments: Moments, rows: Sequence[int], draws: Sequence[np.random.Generator], training: bool
    ) -> Batch:
        found = [self._cut(moments, row, rng, training) for row, rng in zip(rows, draws, strict=True)]
        weight = self._weights(np.array([cut["felt"] for cut in found]))
        batch = Batch(
            actions=self._normal(found, "actions")[:, None],
            real=torch.as_tensor(np.stack([cut["real"] for cut in found]))[:, None],
            weight=tensor(weight),
            last_action=self._normal(found, "last")[:, None],
        )
        if self._sensor is not None:
            felt = [cut for cut in found if cut["felt"]]
            batch = replace(
                batch,
                felt=torch.tensor([cut["felt"] for cut in found]),
                samples=self._samples([cut["window"] for cut in felt]),
                present=self._present([cut["window"] for cut in felt]),
                ends=(self._sensor.window_frames,),
            )
        if self.robot.state is not None:
            assert self.norm.state is not None
            state = self.norm.state.normalize(np.stack([cut["state"] for cut in found]))
            known = torch.tensor([cut["state_known"] for cut in found])
            batch = replace(batch, state=tensor(state)[:, None], state_known=known[:, None])
        if self.vl_width:
            batch = self._with_views(batch, found)
        return batch

    def _cut(self, moments: Moments, row: int, rng: np.random.Generator, training: bool) -> dict[str, Any]:
        """One moment as arrays in units; with every draw made, whether it is used or not."""
        set_number, number = int(moments.set_number[row]), int(moments.episode[row])
        episode, action = self._sets[set_number][number], int(moments.action[row])
        now_ns = int(episode.actions.stamps_ns[action])
        age_ns, dropped = int(rng.uniform(*self._config.vl.age_ms) * 1e6), rng.uniform() < self._config.sensor_dropout
        actions, real = cut_chunk(episode.actions, self.robot.actions, now_ns)
        last = episode.actions.values[max(action - 1, 0)].astype(np.float32)
        cut: dict[str, Any] = {"actions": actions, "real": real, "last": last, "felt": bool(moments.felt[row])}
        if self._sensor is not None:
            read = self._config.sensor and not (training and dropped)
            stream = episode.sensors.get(self._sensor.name) if read else None
            cut["window"] = cut_window(stream, self._sensor, now_ns, episode.absent.get(self._sensor.name, ()))
            cut["felt"] = bool(cut["window"].present.any())
        if self.robot.state is not None:
            cut["state"], cut["state_known"] = cut_state(episode.state, self.robot.state.dim, now_ns)
        if self.vl_width:
            views = self._views(set_number, number)
            view = view_at(views, now_ns, age_ns)
            age_s = (now_ns - int(views.stamps_ns[view])) / 1e9 if view >= 0 else 0.0
            cut |= {"set": set_number, "episode": number, "view": view, "age_s": age_s}
        return cut

    def _with_views(self, batch: Batch, found: Sequence[dict[str, Any]]) -> Batch:
        age_s = tensor(np.array([cut["age_s"] for cut in found]))[:, None]
        if not self._features:
            episodes = [self._sets[cut["set"]][cut["episode"]] for cut in found]
            images = [self._images(episode, cut) for episode, cut in zip(episodes, found, strict=True)]
            return replace(batch, vl_age_s=age_s, pictures=Pictures(images, [e.instruction for e in episodes]))
        rows = [self._features[cut["set"]](cut["episode"], cut["view"]) for cut in found]
        most = max(len(row) for row in rows)
        features = torch.zeros(len(rows), 1, most, self.vl_width)
        mask = torch.zeros(len(rows), 1, most, dtype=torch.bool)
        for index, row in enumerate(rows):
            features[index, 0, : len(row)] = torch.as_tensor(row)
            mask[index, 0, : len(row)] = True
        return replace(batch, vl_features=features, vl_mask=mask, vl_age_s=age_s)

    def _images(self, episode: Episode, cut: dict[str, Any]) -> list[bytes]:
        if cut["view"] < 0:
            return []
        frames = self._views(cut["set"], cut["episode"]).frames[cut["view"]]
        cameras = zip(self.robot.cameras, frames, strict=True)
        return [episode.cameras[camera.name].encoded[int(index)] for camera, index in cameras if index >= 0]

    def _find_views(self, set_number: int, number: int) -> Views:
        return episode_views(self._sets[set_number][number], self.robot)

    def _split(self, set_number: int) -> tuple[Moments, Moments, Moments]:
        """Moments to learn from, to choose weights by, and to score on; by sessions."""
        episodes, config = self._sets[set_number], self._config
        rest, test = split_sessions(episodes, config.test_share, config.seed)
        train, validation = split_sessions(episodes, config.validation_share, config.seed, rest)
        return tuple(self._moments(set_number, side) for side in (train, validation, test))  # type: ignore[return-value]  # three

    def _moments(self, set_number: int, numbers: Sequence[int]) -> Moments:
        episodes = [self._sets[set_number][number] for number in numbers]
        lengths = [len(episode.actions.stamps_ns) for episode in episodes]
        actions = [np.arange(length) for length in lengths]
        return Moments(
            np.full(sum(lengths), set_number, np.int64),
            np.repeat(np.asarray(numbers, np.int64), lengths),
            np.concatenate([np.zeros(0, np.int64), *actions]),
            np.repeat(np.array([self._is_felt(episode) for episode in episodes], np.bool_), lengths),
        )

    def _is_felt(self, episode: Episode) -> bool:
        if self._sensor is None or not self._config.sensor or self._sensor.name not in episode.sensors:
            return False
        return set(episode.absent.get(self._sensor.name, ())) != {group.name for group in self._sensor.groups}

    def _train_episodes(self) -> Iterator[Episode]:
        pairs = np.unique(np.stack([self._train.set_number, self._train.episode], axis=1), axis=0)
        return (self._sets[set_number][number] for set_number, number in pairs)

    def _weights(self, felt: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.where(felt, self._config.sensor_loss_weight, 1.0)

    def _normal(self, found: Sequence[dict[str, Any]], name: str) -> Tensor:
        return tensor(self.norm.action.normalize(np.stack([cut[name] for cut in found])))

    def _samples(self, windows: Sequence[SensorWindow]) -> Tensor:
        assert self._sensor is not None
        assert self.norm.sensor is not None
        if not windows:
            return torch.zeros(0, self._sensor.window_samples, self._sensor.channels)
        samples = torch.stack([torch.tensor(window.samples).float() for window in windows])
        return (samples - torch.as_tensor(self.norm.sensor.mean)) / torch.as_tensor(self.norm.sensor.std)

    def _present(self, windows: Sequence[SensorWindow]) -> Tensor:
        assert self._sensor is not None
        if not windows:
            return torch.zeros(0, self._sensor.window_frames, len(self._sensor.groups), dtype=torch.bool)
        return torch.as_tensor(np.stack([window.present for window in windows]))
