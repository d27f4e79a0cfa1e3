"""The synthetic needle stream: force and A-scans at the sensor's exact rate, camera frames, and an expert's chunks.

Everything is a pure function of seed and time (or sample number), so a sample process and a camera thread that each
make their own stream of the same seed see the same world.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.simulation.a_scan import TipSensor
from ganglion.simulation.expert import expert_chunks
from ganglion.simulation.needle_world import Floats, NeedleState, NeedleWorld
from ganglion.simulation.scene import Scene

Array = npt.NDArray[np.float32]

_BLOCK = 32  # samples worked on at once: their temporaries stay in the cache


class NearPeakStream:
    """One robot's synthetic world.

    Args:
        robot: one sensor whose last channel group is the A-scan and whose first is force; any channel count.
        seed: fixes motion, tissue, noise and scenery.

    Raises:
        InputError: the robot has not exactly one sensor, or an action the needle doesn't have.
    """

    def __init__(self, robot: RobotSpec, seed: int) -> None:
        if len(robot.sensors) != 1:
            raise InputError(f"has {len(robot.sensors)} sensors", where=f"robot {robot.name}", remedy="declare one")
        self.robot = robot
        self._rate_hz = robot.sensors[0].rate_hz
        self._world = NeedleWorld(seed)
        self._sensor = TipSensor(robot.sensors[0], seed)
        self._scenes = {camera.name: Scene(camera, seed) for camera in robot.cameras}
        expert_chunks(robot.actions, self._world.at(np.zeros(1)))

    def state(self, times_s: Floats) -> NeedleState:
        """The world at (times,) seconds."""
        return self._world.at(times_s)

    def sample(self, index: int) -> Array:
        """Sample number `index`, taken at index / rate_hz seconds: (channels,) float32 in the sensor's units."""
        sample: Array = self.samples(index, 1)[0]
        return sample

    def samples(self, first: int, count: int) -> Array:
        """Samples `first` to `first + count - 1`: (count, channels) float32."""
        out = np.empty((count, self.robot.sensors[0].channels), np.float32)
        for start in range(0, count, _BLOCK):
            numbers = np.arange(first + start, first + min(start + _BLOCK, count), dtype=np.int64)
            out[start : start + _BLOCK] = self._sensor.read(numbers, self._world.at(numbers / self._rate_hz))
        return out

    def frame(self, time_s: float, camera: str | None = None) -> npt.NDArray[np.uint8]:
        """What a camera (the first, unless named) sees: (height, width, 3) uint8 RGB.

        Raises:
            InputError: the robot has no such camera.
        """
        name = camera or next(iter(self._scenes), "")
        if name not in self._scenes:
            raise InputError(f"has no camera {name!r}", where=f"robot {self.robot.name}", remedy="add one to its spec")
        return self._scenes[name].draw(self._world.at(np.array([time_s])), time_s)

    def chunk(self, time_s: float) -> Array:
        """What the expert commands from that time on: (horizon, dim) float32 in the action spec's units."""
        chunk: Array = self.chunks(np.array([time_s]))[0]
        return chunk

    def chunks(self, times_s: Floats) -> Array:
        """The same for many times at once: (times, horizon, dim)."""
        return expert_chunks(self.robot.actions, self._world.at(times_s))
