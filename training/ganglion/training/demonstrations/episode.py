"""One demonstration as it was recorded: every stream at its own rate, with the time of each of its readings.

All stamps of an episode come from one monotonic clock. Nothing is resampled here or on disk; ganglion.training.
demonstrations.cutting brings streams together, for one moment at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec

Stamps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Readings and when each was taken.

    stamps_ns  (N,) int64, strictly increasing
    values     (N, channels) float16, float32 or float64, in the spec's units
    """

    stamps_ns: Stamps
    values: npt.NDArray[np.floating]


@dataclass(frozen=True)
class CameraStream:
    """Frames and when each was exposed.

    stamps_ns  (N,) int64, strictly increasing
    encoded    N images, JPEG or PNG bytes of the camera's size
    """

    stamps_ns: Stamps
    encoded: Sequence[bytes]


@dataclass(frozen=True)
class Episode:
    """One demonstration.

    instruction  the goal in words
    session      what was recorded together: a day, a person, a sample; data is split between sessions, never within
    actions      what was commanded, (N, action dim)
    state        (N, state dim), None for a robot without or an episode that lacks it
    sensors      by the sensor's name; one that is not there was not recorded
    cameras      by the camera's name; one that is not there was not recorded
    absent       sensor -> names of the channel groups whose values mean nothing, such as of a probe not yet mounted
    notes        anything else worth keeping, as JSON data
    """

    instruction: str
    session: str
    actions: Stream
    state: Stream | None = None
    sensors: Mapping[str, Stream] = field(default_factory=dict)
    cameras: Mapping[str, CameraStream] = field(default_factory=dict)
    absent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def streams_of(episode: Episode) -> dict[str, Stream | CameraStream]:
    """All streams that were recorded, by the names that figures have: actions, state, "sensor NAME", "camera NAME"."""
    return {
        "actions": episode.actions,
        **({"state": episode.state} if episode.state else {}),
        **{f"sensor {name}": stream for name, stream in episode.sensors.items()},
        **{f"camera {name}": frames for name, frames in episode.cameras.items()},
    }


def first_stamp_ns(episode: Episode) -> int:
    """When the first reading of all streams was taken."""
    return min(int(stream.stamps_ns[0]) for stream in streams_of(episode).values())


def check_episode(episode: Episode, robot: RobotSpec, where: object) -> None:
    """See that an episode fits its robot and can be learned from.

    Raises:
        InputError: naming the stream, what is wrong with it, and at which reading.
    """
    _check_stream(episode.actions, robot.actions.dim, f"{where}, actions")
    if episode.state is not None:
        if robot.state is None:
            raise InputError("has a state, the robot has none", where=where, remedy="declare it in the robot spec")
        _check_stream(episode.state, robot.state.dim, f"{where}, state")
    sensors = {sensor.name: sensor for sensor in robot.sensors}
    for name, stream in episode.sensors.items():
        if name not in sensors:
            raise InputError(f"has a sensor {name!r}", where=where, remedy=f"the robot has {sorted(sensors)}")
        _check_stream(stream, sensors[name].channels, f"{where}, sensor {name}")
    for name, groups in episode.absent.items():
        known = [group.name for group in sensors[name].groups] if name in sensors else []
        if unknown := sorted(set(groups) - set(known)):
            raise InputError(f"calls {name}.{unknown[0]} absent", where=where, remedy=f"the sensor has {known}")
    cameras = [camera.name for camera in robot.cameras]
    for name, frames in episode.cameras.items():
        if name not in cameras:
            raise InputError(f"has a camera {name!r}", where=where, remedy=f"the robot has {cameras}")
        _check_stamps(frames.stamps_ns, len(frames.encoded), f"{where}, camera {name}")


def _check_stream(stream: Stream, channels: int, where: str) -> None:
    values = stream.values
    if values.ndim != 2 or values.shape[1] != channels:
        raise InputError(f"has shape {values.shape}", where=where, remedy=f"the robot spec says (N, {channels})")
    if values.dtype.kind != "f":
        raise InputError(f"has type {values.dtype}", where=where, remedy="give float16, float32 or float64")
    _check_stamps(stream.stamps_ns, len(values), where)
    for start in range(0, len(values), 4096):  # a view at a time: an episode may be larger than memory
        finite = np.isfinite(values[start : start + 4096]).all(axis=1)
        if not finite.all():
            reading = start + int(np.argmin(finite))
            raise InputError(f"is not finite at reading {reading}", where=where, remedy="cut it out or mend it")


def _check_stamps(stamps_ns: Stamps, count: int, where: str) -> None:
    if stamps_ns.dtype != np.int64 or stamps_ns.shape != (count,):
        shape = f"{stamps_ns.dtype} {stamps_ns.shape}"
        raise InputError(f"has stamps {shape} for {count} readings", where=where, remedy="give one int64 for each")
    if count == 0:
        raise InputError("is empty", where=where, remedy="leave the stream out, or the episode")
    if (late := np.diff(stamps_ns) <= 0).any():
        reading = int(np.argmax(late)) + 1
        raise InputError(f"goes back in time at reading {reading}", where=where, remedy="sort it and drop repetitions")
