"""What a set of episodes holds, measured episode by episode: times, ranges, and what cameras show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.episode import Episode, Stamps, Stream, streams_of
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.images import Look, look_at
from ganglion.training.demonstrations.recordings import rates_of_change

_GAP = 1.5  # usual intervals: a longer one is a gap
_EXACT = 1 + 1e-6  # by which a limit may be passed: intervals are whole nanoseconds

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Timing:
    """When the readings of a stream come.

    rate_hz        of the usual (median) interval; None for a single reading
    jitter_ms      most that an interval differs from the usual one, gaps aside
    gaps           intervals longer than one and a half
    lost           readings that these have room for
    longest_gap_s  0 without any
    """

    readings: int
    first_ns: int
    last_ns: int
    rate_hz: float | None
    jitter_ms: float
    gaps: int
    lost: int
    longest_gap_s: float


@dataclass(frozen=True)
class Range:
    """Values of a stream by dimension, each (dim,) float64."""

    least: Floats
    largest: Floats
    mean: Floats
    deviation: Floats


@dataclass(frozen=True)
class EpisodeFigures:
    """One episode, measured.

    name       in its set
    digest     of its content, as noted when it was written
    commands   digest of its actions' values alone; "" where none of them ever changes
    timings    by stream: actions, state, "sensor NAME", "camera NAME"
    state      None for an episode without
    outside    (dim,) actions beyond the limits of the robot spec
    too_fast   (dim,) changes of actions faster than its max_rate
    absent     "SENSOR.GROUP" of channel groups whose values mean nothing
    looks      by camera; empty if not asked for
    """

    name: str
    session: str
    instruction: str
    digest: str
    commands: str
    timings: Mapping[str, Timing]
    actions: Range
    state: Range | None
    outside: Counts
    too_fast: Counts
    absent: tuple[str, ...]
    looks: Mapping[str, Look]

    @property
    def seconds(self) -> float:
        """From the first action to the last."""
        return (self.timings["actions"].last_ns - self.timings["actions"].first_ns) / 1e9


def measure_set(
    episodes: EpisodeSet, numbers: Iterable[int] | None = None, *, images: bool = True
) -> list[EpisodeFigures]:
    """Measure episodes of a set.

    Args:
        episodes: the set.
        numbers: of those to measure; None measures all.
        images: whether to look at some frames of each camera too, which takes most of the time.

    Raises:
        InputError: an episode is damaged.
    """
    chosen = list(range(len(episodes)) if numbers is None else numbers)
    bar = tqdm(chosen, desc="measuring", unit="episode", disable=None, leave=False)
    return [_measured(episodes, number, images) for number in bar]


def declared_rates(robot: RobotSpec) -> dict[str, float]:
    """Rate in Hz of each stream that a robot has, by the names that timings have."""
    return {
        "actions": robot.actions.rate_hz,
        **({"state": robot.state.rate_hz} if robot.state else {}),
        **{f"sensor {sensor.name}": sensor.rate_hz for sensor in robot.sensors},
        **{f"camera {camera.name}": camera.rate_hz for camera in robot.cameras},
    }


def _measured(episodes: EpisodeSet, number: int, images: bool) -> EpisodeFigures:
    episode, name, robot = episodes[number], episodes.names[number], episodes.robot
    values, limits, actions = episode.actions.values, robot.actions, _range(episode.actions)
    still = bool((actions.least == actions.largest).all())
    return EpisodeFigures(
        name=name,
        session=episode.session,
        instruction=episode.instruction,
        digest=episodes.episode_digest(name),
        commands="" if still else hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest(),
        timings={name: _timing(stream.stamps_ns) for name, stream in streams_of(episode).items()},
        actions=actions,
        state=None if episode.state is None else _range(episode.state),
        outside=((values < np.array(limits.low)) | (values > np.array(limits.high))).sum(axis=0, dtype=np.int64),
        too_fast=(rates_of_change(episode.actions) > np.array(limits.max_rate) * _EXACT).sum(axis=0, dtype=np.int64),
        absent=tuple(f"{sensor}.{group}" for sensor, groups in episode.absent.items() for group in groups),
        looks=_looks(episode, robot, f"{episodes.folder}: episode {name}") if images else {},
    )


def _timing(stamps_ns: Stamps) -> Timing:
    first, last, intervals = int(stamps_ns[0]), int(stamps_ns[-1]), np.diff(stamps_ns)
    if not len(intervals):
        return Timing(1, first, last, None, 0.0, 0, 0, 0.0)
    usual = float(np.median(intervals))
    gaps = intervals[intervals > _GAP * usual]
    return Timing(
        readings=len(stamps_ns),
        first_ns=first,
        last_ns=last,
        rate_hz=1e9 / usual,
        jitter_ms=float(np.abs(intervals[intervals <= _GAP * usual] - usual).max()) / 1e6,
        gaps=len(gaps),
        lost=int((np.rint(gaps / usual) - 1).sum()),
        longest_gap_s=float(gaps.max(initial=0)) / 1e9,
    )


def _range(stream: Stream) -> Range:
    values = stream.values.astype(np.float64)
    return Range(values.min(axis=0), values.max(axis=0), values.mean(axis=0), values.std(axis=0))


def _looks(episode: Episode, robot: RobotSpec, where: str) -> dict[str, Look]:
    return {
        camera.name: look_at(episode.cameras[camera.name], camera, where)
        for camera in robot.cameras
        if camera.name in episode.cameras
    }
