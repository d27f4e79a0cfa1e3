"""What a simulated robot is to those who drive it, record it or stream it: insertion and exo_walk are such worlds."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import RobotSpec


class World(Protocol):
    """One episode's world on a virtual clock: it goes on by one hop whenever it is told what to do in it.

    robot  what it has; one sensor, whose hop is one control period
    """

    @property
    def robot(self) -> RobotSpec:
        """Cameras, sensor, actions and state."""

    @property
    def time_s(self) -> float:
        """Seconds since the beginning."""

    def step(self, action: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Act for one hop: (action dim,) in the spec's units -> its samples, (hop_samples, channels)."""

    def state(self) -> npt.NDArray[np.float64]:
        """What the robot knows of itself now, (state dim,) in the spec's units."""

    @property
    def done(self) -> bool:
        """Whether the episode is over, after which `step` refuses; False for ever in a world that has no end."""

    def frame(self, camera: str) -> npt.NDArray[np.uint8]:
        """What a camera sees now, (height, width, 3) RGB."""

    def pose(self) -> npt.NDArray[np.float64]:
        """All that cameras see of the moment, (n,): another world of the same case looks the same once shown it."""

    def show(self, pose: npt.ArrayLike) -> None:
        """Take a pose for `frame` to look at, (n,); for a world that only looks, as it can't go on from there."""

    def close(self) -> None:
        """Free what rendering holds."""
