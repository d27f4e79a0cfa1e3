"""The moments of recorded episodes that there are to learn from, to choose weights by, and to score on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import SensorSpec
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.episode_set import EpisodeSet, split_sessions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Moments:
    """Decisions that were taken in recorded episodes, M of them.

    set_number  (M,) int64, which of the sets
    episode     (M,) int64, number of the episode in it
    action      (M,) int64, number of the action
    recorded    (M,) bool, whether the sensor recorded anything in the episode, read or not
    """

    set_number: Ints
    episode: Ints
    action: Ints
    recorded: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """M."""
        return len(self.recorded)

    def episodes(self) -> list[tuple[int, int]]:
        """Those that they are of, as (number of the set, number of the episode in it), in order."""
        return [(s, e) for s, e in np.unique(np.stack([self.set_number, self.episode], axis=1), axis=0).tolist()]


def split_moments(
    sets: Sequence[EpisodeSet], sensor: SensorSpec | None, *, validation_share: float, test_share: float, seed: int
) -> tuple[Moments, Moments, Moments]:
    """Moments to learn from, to choose weights by, and to score on; no session is on two sides.

    Args:
        sets: of one robot.
        sensor: of the robot; None if it has none.
        validation_share: of each set's sessions.
        test_share: of each set's sessions.
        seed: fixes which.

    Raises:
        InputError: a side that is asked for is left without a session, or an episode can't be read.
    """
    sides: tuple[list[Moments], list[Moments], list[Moments]] = ([], [], [])
    for set_number, episodes in enumerate(sets):
        rest, test = split_sessions(episodes, test_share, seed)
        train, validation = split_sessions(episodes, validation_share, seed, rest)
        for side, numbers in zip(sides, (train, validation, test), strict=True):
            side.extend(_moments_of(set_number, number, episodes[number], sensor) for number in numbers)
    train_side, validation_side, test_side = map(_join, sides)
    return train_side, validation_side, test_side


def _moments_of(set_number: int, number: int, episode: Episode, sensor: SensorSpec | None) -> Moments:
    count = len(episode.actions.stamps_ns)
    which = np.full(count, set_number), np.full(count, number), np.arange(count)
    return Moments(*which, np.full(count, _is_recorded(episode, sensor)))


def _is_recorded(episode: Episode, sensor: SensorSpec | None) -> bool:
    if sensor is None or sensor.name not in episode.sensors:
        return False
    return set(episode.absent.get(sensor.name, ())) != {group.name for group in sensor.groups}


def _join(parts: Sequence[Moments]) -> Moments:
    nothing = np.zeros(0, np.int64)
    parts = [Moments(nothing, nothing, nothing, nothing.astype(np.bool_)), *parts]
    names = ("set_number", "episode", "action", "recorded")
    return Moments(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
