"""What an expert does who knows the block: the demonstrations that a policy learns from.

It levels the needle over the mark, goes down to where the block should begin, feeds slowly once it is there, and stops
short of the next interface. All of it is a smooth function of the state, so that a policy can follow it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ganglion.simulation.insertion.world import Insertion

STOP_MM = 0.8  # before the interface at the bottom of the layer
HOVER_MM = 5.0  # tip above the nominal surface while the needle is not fed
_GAIN_HZ = 3.0
_NEAR_MM = 2.0  # from the mark, where feeding begins
_AIR_MM_S, _TISSUE_MM_S = 6.0, 2.5
_SLOW_MM = 1.0  # before the surface

# How far demonstrations are pushed off the expert's way, in the robot's units: much above the block, little in it,
# where a needle that wanders tears.
_NOISE_ABOVE = np.array([4.0, 4.0, 3.0, 0.05, 0.05, 0.05, 0.6])
_NOISE_INSIDE = np.array([0.4, 0.4, 0.2, 0.01, 0.01, 0.01, 0.5])

Floats = npt.NDArray[np.float64]


class Expert:
    """One world's expert; `mark` and `layer` are the case's own unless others are given."""

    def __init__(self, world: Insertion, mark: int | None = None, layer: int | None = None) -> None:
        self._world = world
        self._mark = world.case.marks[world.case.chosen if mark is None else mark]
        self._layer = world.case.layer if layer is None else layer

    def act(self) -> Floats:
        """Velocities for the next hop, (7,) in the robot's units and within its limits."""
        world, robot = self._world, self._world.robot
        joints, tip = world.state(), world.tip_mm
        off = np.array([self._mark.x_mm, self._mark.y_mm]) - tip[:2]
        inside = world.depth_mm > 0
        speed = np.zeros(7)
        # Inside the block the needle would tear it: no sideways motion there.
        speed[:2] = 0.0 if inside else _GAIN_HZ * off
        speed[3:5] = 0.0 if inside else -_GAIN_HZ * joints[3:5]
        speed[2] = _GAIN_HZ * (HOVER_MM - joints[6] - tip[2]) if not inside else 0.0
        near = 1.0 if inside else float(np.clip(2 - np.hypot(*off) / _NEAR_MM, 0, 1))
        speed[6] = near * self._feed()
        return np.clip(speed, robot.actions.low, robot.actions.high)

    def noise(self) -> Floats:
        """Standard deviation of what may be added to its commands now, (7,): it still gets there."""
        return _NOISE_INSIDE if self._world.depth_mm > -_SLOW_MM else _NOISE_ABOVE

    def _feed(self) -> float:
        world = self._world
        left = self.left_mm()
        gap = -world.depth_mm
        fastest = np.interp(gap, [0.3, 0.3 + _SLOW_MM], [_TISSUE_MM_S, _AIR_MM_S])
        return float(np.clip(_GAIN_HZ * left, -_TISSUE_MM_S, fastest))

    def left_mm(self) -> float:
        """How far the tip has to go yet along the needle."""
        return float(self._world.tissue.ahead_mm()[self._layer + 1]) - STOP_MM
