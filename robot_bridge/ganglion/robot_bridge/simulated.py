"""Robots nobody has to own as sources: the synthetic needle's samples and frames, and recorded OCT volumes.

    SourceName("ganglion.robot_bridge.simulated:needle_samples", {"seed": 1})
    SourceName("ganglion.robot_bridge.simulated:NeedleFrames", {"seed": 1, "camera": "scene"})
    SourceName("ganglion.robot_bridge.simulated:oct_samples", {"folder": "oct_needle_pose"})

With the same seed the needle's two show the same world: it is a function of time alone. A sample counts as taken when
it was due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec


class SampleStream(Protocol):
    """Data that can be had at any place: (count, channels) from sample `first` on."""

    def samples(self, first: int, count: int) -> npt.NDArray[np.float32]:
        """Samples `first` to `first + count - 1`."""


class StreamSource:
    """A `SampleSource` over a stream, which is asked for one hop at a time: cheaper than sample by sample."""

    def __init__(self, stream: SampleStream, hop_samples: int) -> None:
        self._stream, self._hop, self._first = stream, hop_samples, 0
        self._block = stream.samples(0, hop_samples)

    def read(self, seq: int, due_ns: int, into: npt.NDArray[np.floating]) -> int | None:
        """Sample `seq`, stamped with the time it was due."""
        if not self._first <= seq < self._first + self._hop:
            self._first, self._block = seq, self._stream.samples(seq, self._hop)
        into[:] = self._block[seq - self._first]
        return due_ns

    def close(self) -> None:
        """Nothing to free."""


def needle_samples(robot: RobotSpec, seed: int) -> StreamSource:
    """The synthetic needle's sensor."""
    from ganglion.simulation.near_peak import NearPeakStream

    return StreamSource(NearPeakStream(robot, seed), robot.sensors[0].hop_samples)


def oct_samples(
    robot: RobotSpec, folder: str, names: Sequence[str] | None = None, rasters_per_volume: int = 2
) -> StreamSource:
    """Recorded OCT volumes, those held back from training unless named; see `OctReplay`.

    Raises:
        InputError: a volume can't be read, or the robot's sensor is not the recorded one.
    """
    from ganglion.simulation.oct_replay import OctReplay

    stream = OctReplay(folder, names, rasters_per_volume)
    sensor, recorded = robot.sensors[0], stream.spec().sensors[0]
    if sensor.groups != recorded.groups:
        raise InputError(
            f"sensor has {sensor.channels} channels, the recordings {recorded.channels}",
            where=f"robot {robot.name}",
            remedy="serve a policy that was trained on such recordings",
        )
    return StreamSource(stream, sensor.hop_samples)


class NeedleFrames:
    """The synthetic needle's camera, a `FrameSource`. camera: its name in the spec, the first if None."""

    def __init__(self, robot: RobotSpec, seed: int, camera: str | None = None) -> None:
        from ganglion.simulation.near_peak import NearPeakStream

        self._stream, self._camera = NearPeakStream(robot, seed), camera

    def frame(self, time_s: float) -> npt.NDArray[np.uint8]:
        """The (height, width, 3) RGB image exposed `time_s` seconds after sample 0."""
        return self._stream.frame(time_s, self._camera)

    def close(self) -> None:
        """Nothing to free."""
