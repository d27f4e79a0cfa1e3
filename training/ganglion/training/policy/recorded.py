"""Recorded demonstrations as training data: sets of episodes, with and without sensors, met in one exact order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.specs import SensorSpec
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.training.demonstrations.cutting import Views, episode_views
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.policy.batch import Batch
from ganglion.training.policy.collate import collate
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.cutting import Moment, Sight, choose_view, cut_moment, encoded_images
from ganglion.training.policy.moments import Moments, split_moments
from ganglion.training.policy.order import Order
from ganglion.training.policy.robots import common_robot
from ganglion.training.policy.statistics import recorded_normalization

Features = Callable[[int, int], Tensor]
EVALUATION_BATCH = 16
_DRAW, _HELD_BACK = 11, 12  # streams of random numbers


@dataclass(frozen=True)
class _Draw:
    """What is drawn for one moment: how old its view is, and whether its sensor is dropped."""

    age_ns: int
    dropped: bool


class RecordedSource:
    """See Source.

    Args:
        config: names the sets, and how moments are drawn.
        vl: the backbone whose features are read; None where cameras are not looked at.
        features: for each set (episode, view) -> VL features (tokens, vl_width); empty where a backbone is to see.

    Raises:
        InputError: a set can't be read, sets are of robots that differ or lack the sensor that is to be read, or a side
            of the split is empty.
    """

    def __init__(
        self, config: PolicyTrainConfig, vl: BackboneFacts | None = None, features: Sequence[Features] = ()
    ) -> None:
        self._config, self.vl, self._features = config, vl, features
        self._sets = [EpisodeSet(Path(folder)) for folder in config.folders]
        self.robot = common_robot([(str(s.folder), s.robot) for s in self._sets])
        if config.fusion != "none" and not self.robot.sensors:
            raise InputError(
                f"no robot has a sensor, --fusion is {config.fusion}",
                where=", ".join(config.folders),
                remedy="give --fusion none, or a set with a sensor",
            )
        self._sensor = self.robot.sensors[0] if config.fusion != "none" else None
        self._groups = _felt_groups(self._sensor, config.sensor_groups)
        self._train, self._validation, self._test = split_moments(
            self._sets,
            self.robot.sensors[0] if self.robot.sensors else None,
            validation_share=config.validation_share,
            test_share=config.test_share,
            seed=config.seed,
        )
        # Policies that read a sensor and those that do not meet the same moments in the same order.
        self._order = Order(self._train.recorded, config.sensor_share, config.seed)
        feels = self._sensor is not None and config.sensor
        self._felt = self._train.recorded & feels
        self._views = functools.lru_cache(4096)(self._find_views)
        train_episodes = (self._sets[set_number][number] for set_number, number in self._train.episodes())
        self.norm = recorded_normalization(self.robot, self._sensor, train_episodes)
        self.facts: dict[str, Any] = {
            "data": [str(folder) for folder in config.folders],
            "moments": {"train": len(self._train), "with_sensor": int(self._felt.sum())},
            "epoch_length": self._order.epoch_length,
        }

    @property
    def epoch_length(self) -> int:
        """Moments met in one epoch, repetitions included."""
        return self._order.epoch_length

    def batch(self, number: int) -> Batch:
        """See Source."""
        return self._batch(self._train, self._rows(number), self._draws(number))

    def weight(self, number: int) -> float:
        """See Source."""
        dropped = np.array([draw.dropped for draw in self._draws(number)])
        return float(self._weights(self._felt[self._rows(number)] & ~dropped).sum())

    def held_back(self, part: str = "test") -> Iterator[Batch]:
        """See Source."""
        moments = self._validation if part == "validation" else self._test
        count = min(len(moments), self._config.eval_count)
        rows = np.unique(np.linspace(0, len(moments) - 1, count).astype(np.int64)) if count else np.zeros(0, np.int64)
        for start in range(0, len(rows), EVALUATION_BATCH):
            chosen = [int(row) for row in rows[start : start + EVALUATION_BATCH]]
            yield self._batch(moments, chosen, [replace(self._draw(_HELD_BACK, row), dropped=False) for row in chosen])

    def _positions(self, number: int) -> range:
        """Positions of a batch in the order."""
        return range(number * self._config.batch_size, (number + 1) * self._config.batch_size)

    def _rows(self, number: int) -> list[int]:
        """Which moments to learn from a batch holds."""
        return [self._order[position] for position in self._positions(number)]

    def _draws(self, number: int) -> list[_Draw]:
        """What is drawn for the moments of a batch to learn from."""
        return [self._draw(_DRAW, position) for position in self._positions(number)]

    def _draw(self, stream: int, number: int) -> _Draw:
        """Every draw is made, whether it is used or not."""
        rng = np.random.default_rng([self._config.seed, stream, number])
        return _Draw(int(rng.uniform(*self._config.vl.age_ms) * 1e6), rng.uniform() < self._config.sensor_dropout)

    def _batch(self, moments: Moments, rows: Sequence[int], draws: Sequence[_Draw]) -> Batch:
        found = [self._cut(moments, row, draw) for row, draw in zip(rows, draws, strict=True)]
        return collate(found, self._weights([moment.felt for moment in found]), self.norm)

    def _cut(self, moments: Moments, row: int, draw: _Draw) -> Moment:
        set_number, number, action = (int(of[row]) for of in (moments.set_number, moments.episode, moments.action))
        feels = self._config.sensor and not draw.dropped
        moment = cut_moment(self._sets[set_number][number], action, self.robot, self._sensor, feels)
        if self._groups is not None and moment.window is not None:
            moment = replace(moment, window=replace(moment.window, present=moment.window.present & self._groups))
        if not self._config.state:
            moment = replace(moment, state_known=False)
        return replace(moment, sight=self._look(set_number, number, action, draw.age_ns)) if self.vl else moment

    def _look(self, set_number: int, number: int, action: int, age_ns: int) -> Sight:
        episode, views = self._sets[set_number][number], self._views(set_number, number)
        view, age_s = choose_view(episode, action, views, age_ns)
        if self._features:
            return Sight(age_s, episode.instruction, features=self._features[set_number](number, view))
        return Sight(age_s, episode.instruction, encoded_images(episode, self.robot, views, view))

    def _find_views(self, set_number: int, number: int) -> Views:
        return episode_views(self._sets[set_number][number], self.robot)

    def _weights(self, felt: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """What a loss counts: (n,) for (n,) bool, whether anything was felt."""
        return np.where(felt, self._config.sensor_loss_weight, 1.0)


def _felt_groups(sensor: SensorSpec | None, names: Sequence[str]) -> npt.NDArray[np.bool_] | None:
    """Which channel groups are felt, (groups,) bool; None for all.

    Raises:
        InputError: the sensor has no group of that name, or none is read.
    """
    if not names:
        return None
    known = [group.name for group in sensor.groups] if sensor else []
    if unknown := sorted(set(names) - set(known)):
        raise InputError(
            f"--sensor_groups names {unknown[0]!r}", remedy=f"use some of {known}" if known else "leave it out"
        )
    return np.array([name in names for name in known])
