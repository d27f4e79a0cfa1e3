"""The simulated robots that can be driven in closed loop, opened by name; see ganglion.simulation.scenario.

world = open_world("insertion", seed=1)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec, RobotSpec, SensorSpec

if TYPE_CHECKING:
    from ganglion.simulation.world import World


def open_world(name: str, seed: int, robot: RobotSpec | None = None) -> World:
    """A fresh world, at its beginning.

    Args:
        name: of its scenario.
        seed: of the case; equal seeds give equal worlds.
        robot: what drives it, if that is not just the world's own robot: its cameras, which may have other sizes and
            rates, are then the world's.

    Raises:
        InputError: there is no such world, or the robot is not one that it can be.
        MissingExtra: MuJoCo is not installed.
    """
    from ganglion.simulation.scenario import get_scenario

    where = f"world {name}"
    if seed < 0:
        raise InputError(f"has no case of seed {seed}", where=where, remedy="give 0 or more")
    scenario = get_scenario(name)
    own = scenario.robot
    if robot is None:
        return scenario.begin(seed, own).world
    _check_fit(robot, own, where)
    known = [camera.name for camera in own.cameras]
    if unknown := [camera.name for camera in robot.cameras if camera.name not in known]:
        raise InputError(f"has no camera {unknown[0]!r}", where=where, remedy=f"use some of {known}")
    return scenario.begin(seed, replace(own, cameras=robot.cameras)).world


def _check_fit(robot: RobotSpec, own: RobotSpec, where: str) -> None:
    """What is measured and moved is the world's business; limits, horizon and window are the robot's side's."""
    if [_measured(sensor) for sensor in robot.sensors] != [_measured(sensor) for sensor in own.sensors]:
        reason = "has another sensor, or another rate or hop"
    elif _moved(robot.actions) != _moved(own.actions):
        reason = "has other actions, or another rate"
    else:
        return
    raise InputError(
        f"robot {robot.name} {reason}", where=where, remedy="serve a policy that was trained on this world"
    )


def _measured(sensor: SensorSpec) -> tuple[object, ...]:
    return sensor.groups, sensor.rate_hz, sensor.hop_samples


def _moved(actions: ActionSpec) -> tuple[object, ...]:
    return actions.names, actions.units, actions.rate_hz
