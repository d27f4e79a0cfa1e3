"""Demonstrations of any kind on their way into a set: checked one by one, and what their source doesn't say, measured.

An importer gives Recordings; `write_recordings` makes a set of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec, RobotSpec
from ganglion.training.demonstrations.episode import Episode, Stream
from ganglion.training.demonstrations.episode_set import SetWriter, create_set, describe_set

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RecordingsRequest:
    """What is to be brought in.

    source   file or folder
    robot    what the recordings are of; None where their source tells, or has to do
    rate_hz  of the steps of a source that has no times
    split    which part of a source that comes in parts; None takes the usual one
    columns  what to take of the source -> what an episode calls it; None takes what is usual
    session  what of the source tells which episodes were recorded together; None takes the best there is
    """

    source: Path
    robot: RobotSpec | None = None
    rate_hz: float | None = None
    split: str | None = None
    columns: Mapping[str, str] | None = None
    session: str | None = None


@dataclass(frozen=True)
class Recordings:
    """What a source holds.

    robot      of all of them; where `measured`, its limits are not limits yet
    source     where they are from, and under "notes" what was made up, in sentences
    episodes   read when asked for; an InputError in place of a bad one
    measured   whether limits of actions, and which of the cameras there are, is for the episodes to tell
    announced  how many episodes the source says it has, if it does
    """

    robot: RobotSpec
    source: Mapping[str, Any]
    episodes: Iterable[Episode | InputError]
    measured: bool = False
    announced: int | None = None


def write_recordings(
    recordings: Recordings, folder: Path, on_bad: Callable[[int, InputError], None]
) -> tuple[int, list[str]]:
    """Make a set of all good episodes; returns how many they are, and what to know of them, in sentences.

    Args:
        recordings: what to write.
        folder: of the set; empty, or not there yet.
        on_bad: is given number and fault of each episode that was left out.

    Raises:
        GanglionError: the disk is full.
    """
    create_set(folder, recordings.robot, dict(recordings.source))
    writer, seen, number = SetWriter(folder), _Seen(), -1
    bar = tqdm(
        recordings.episodes, total=recordings.announced, desc="importing", unit="episode", disable=None, leave=False
    )
    for number, episode in enumerate(bar):
        try:
            if isinstance(episode, InputError):
                raise episode
            writer.add(episode, recordings.robot.name)
            seen.add(episode)
        except InputError as error:
            on_bad(number, error)
    if not seen.episodes:
        return 0, []
    robot, source = _told(recordings, seen, number + 1)
    describe_set(folder, robot, source)
    return seen.episodes, source["notes"]


def rates_of_change(actions: Stream) -> Floats:
    """How fast each dimension changes from one action to the next, per second: (N - 1, dim)."""
    seconds = np.diff(actions.stamps_ns) / 1e9
    change: Floats = np.abs(np.diff(actions.values.astype(np.float64), axis=0))
    return change / seconds[:, None]


@dataclass
class _Seen:
    """What the episodes of a set have in common."""

    episodes: int = 0
    cameras: set[str] = field(default_factory=set)
    low: Floats | float = np.inf
    high: Floats | float = -np.inf
    fastest: Floats | float = 0.0

    def add(self, episode: Episode) -> None:
        values = episode.actions.values.astype(np.float64)
        self.episodes += 1
        self.cameras.update(episode.cameras)
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        self.fastest = np.maximum(self.fastest, rates_of_change(episode.actions).max(axis=0, initial=0))


def _told(recordings: Recordings, seen: _Seen, count: int) -> tuple[RobotSpec, dict[str, Any]]:
    """The robot as the episodes tell it, and the source with notes of what was found."""
    robot, notes = recordings.robot, list(recordings.source.get("notes", ()))
    if recordings.announced not in (None, count):
        notes.append(f"the source announces {recordings.announced} episodes and holds {count}")
    if recordings.measured:
        notes.append("limits of actions: the least, largest and fastest of these episodes")
        if empty := [camera.name for camera in robot.cameras if camera.name not in seen.cameras]:
            notes.append(f"black in every episode and left out: {', '.join(empty)}")
        cameras = tuple(camera for camera in robot.cameras if camera.name in seen.cameras)
        robot = replace(robot, cameras=cameras, actions=_limited(robot.actions, seen))
    return robot, {**recordings.source, "notes": notes}


def _limited(actions: ActionSpec, seen: _Seen) -> ActionSpec:
    """With the limits seen; a dimension that never changes gets 1 to either side, and 1 a second."""
    low, high, fastest = (np.broadcast_to(bound, actions.dim) for bound in (seen.low, seen.high, seen.fastest))
    still = low == high
    return replace(
        actions,
        low=tuple(np.where(still, low - 1, low).tolist()),
        high=tuple(np.where(still, high + 1, high).tolist()),
        max_rate=tuple(np.where(fastest == 0, 1.0, fastest).tolist()),
    )
