"""The scaling that norm.json fixes: means and standard deviations of training data, with a floor under each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ganglion.core.normalization import Normalization, Scale
from ganglion.core.specs import ActionSpec, RobotSpec, SensorSpec
from ganglion.training.demonstrations.episode import Episode

_SENSOR_FLOOR = 0.5  # of its group's deviation: a channel that hardly moves isn't blown up beside its neighbors
_ACTION_FLOOR = 1e-3  # of the dimension's range: one that rests stays at rest
_STATE_FLOOR = 1e-3  # of the largest deviation, or in its own unit
_PIECE = 4096  # readings taken at once: a set may be larger than memory


class RunningStatistics:
    """Mean and standard deviation of readings that come a piece at a time (Chan et al. 1979).

    Attributes:
        mean: (channels,) float64.
    """

    def __init__(self, channels: int) -> None:
        self.mean = np.zeros(channels)
        self._count, self._squares = np.zeros(channels), np.zeros(channels)

    @property
    def std(self) -> npt.NDArray[np.float64]:
        """(channels,); 0 where nothing came."""
        return np.sqrt(self._squares / np.maximum(self._count, 1))

    def add(self, values: npt.NDArray[np.floating], channels: slice = slice(None)) -> None:
        """Take (n, all channels) readings of those channels."""
        for start in range(0, len(values), _PIECE):
            piece = values[start : start + _PIECE, channels].astype(np.float64)
            before, count = self._count[channels], len(piece)
            off = piece.mean(axis=0) - self.mean[channels]
            self.mean[channels] += off * count / (before + count)
            self._squares[channels] += piece.var(axis=0) * count + off**2 * before * count / (before + count)
            self._count[channels] += count


def statistics_of(values: npt.NDArray[np.floating]) -> RunningStatistics:
    """Of (count, channels) readings."""
    running = RunningStatistics(values.shape[1])
    running.add(values)
    return running


def sensor_scale(running: RunningStatistics, spec: SensorSpec) -> Scale:
    """The scale of a sensor's samples."""
    std = running.std
    for own in _groups(spec).values():
        std[own] = np.maximum(std[own], max(_SENSOR_FLOOR * float(np.sqrt(np.mean(std[own] ** 2))), 1e-6))
    return _scale(running.mean, std)


def action_scale(running: RunningStatistics, spec: ActionSpec) -> Scale:
    """The scale of actions."""
    floor = _ACTION_FLOOR * (np.asarray(spec.high) - np.asarray(spec.low))
    return _scale(running.mean, np.maximum(running.std, floor))


def state_scale(running: RunningStatistics) -> Scale:
    """The scale of states."""
    floor = _STATE_FLOOR * (float(running.std.max()) or 1.0)
    return _scale(running.mean, np.maximum(running.std, floor))


def recorded_normalization(robot: RobotSpec, sensor: SensorSpec | None, episodes: Iterable[Episode]) -> Normalization:
    """The scales of what a policy reads and does, over all readings of the episodes.

    Args:
        robot: gives actions and state.
        sensor: the one that is read, None if none is.
        episodes: those to learn from.
    """
    actions, state = RunningStatistics(robot.actions.dim), RunningStatistics(robot.state.dim) if robot.state else None
    samples = RunningStatistics(sensor.channels) if sensor else None
    for episode in episodes:
        actions.add(episode.actions.values)
        if state and episode.state:
            state.add(episode.state.values)
        if samples and sensor and sensor.name in episode.sensors:
            for group, channels in _groups(sensor).items():
                if group not in episode.absent.get(sensor.name, ()):
                    samples.add(episode.sensors[sensor.name].values, channels)
    return Normalization(
        sensor_scale(samples, sensor) if samples and sensor else None,
        action_scale(actions, robot.actions),
        state_scale(state) if state else None,
    )


def _groups(spec: SensorSpec) -> dict[str, slice]:
    ends = np.cumsum([group.channels for group in spec.groups])
    return {
        group.name: slice(int(end) - group.channels, int(end)) for group, end in zip(spec.groups, ends, strict=True)
    }


def _scale(mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> Scale:
    return Scale(mean.astype(np.float32), std.astype(np.float32))
