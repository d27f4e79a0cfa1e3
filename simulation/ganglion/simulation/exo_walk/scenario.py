"""Exo walk as one of the worlds that are recorded and tried by name: a device helps by its own law.

The percent asked for wanders over its whole range, so that one walk shows many; the state holds it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import RobotSpec
from ganglion.core.tasks.exo_assistance import RATE_PERCENT_S
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS
from ganglion.simulation.exo_walk.assist import Assist
from ganglion.simulation.exo_walk.robot import exo_walk_robot
from ganglion.simulation.exo_walk.walk import draw_walk
from ganglion.simulation.rendering import load_mujoco
from ganglion.simulation.scenario import Scenario, Trial

INSTRUCTION = "help the wearer walk"
_LARGEST_PX = 480  # the offscreen buffer's height
_NOISE_NM = 1.0
_WANTED_S = (1.0, 4.0)  # how long a percent is wanted; it may take longer to get there
_STREAM = 0x9A1F


def _begin(seed: int, robot: RobotSpec) -> Trial:
    load_mujoco()
    from ganglion.simulation.exo_walk.world import HOP, ExoWalk

    world = ExoWalk(draw_walk(seed), robot)
    device, wanted = Assist(world.walk), _Wandering(seed, robot.actions.rate_hz)

    def act() -> npt.NDArray[np.float64]:
        world.set_assistance(wanted.next())
        return device.torque(world.felt, world.state())

    def judge() -> dict[str, Any]:
        return {"success": not world.fallen, "terrain": world.walk.terrain, **asdict(world.summary())}

    first, last = world.walked
    seconds = (last - first) // HOP / robot.actions.rate_hz
    return Trial(world, seconds, INSTRUCTION, act, lambda: np.full(robot.actions.dim, _NOISE_NM), judge)


class _Wandering:
    """A percent that goes to one drawn value after another as fast as assistance may change."""

    def __init__(self, seed: int, rate_hz: float) -> None:
        self._rng, self._rate_hz = np.random.default_rng([seed, _STREAM]), rate_hz
        self._percent, self._wanted, self._left = 0.0, 0.0, 0

    def next(self) -> float:
        """The percent of the next hop."""
        if not self._left:
            self._wanted = float(self._rng.uniform(*ASSISTANCE_LIMITS))
            self._left = round(float(self._rng.uniform(*_WANTED_S)) * self._rate_hz)
        self._left -= 1
        most = RATE_PERCENT_S / self._rate_hz
        self._percent += min(max(self._wanted - self._percent, -most), most)
        return self._percent


EXO_WALK = Scenario("exo_walk", exo_walk_robot(), _LARGEST_PX, _begin)
