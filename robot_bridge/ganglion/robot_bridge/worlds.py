"""The simulated robots that can be driven in closed loop, opened by name; see ganglion.simulation.world.

    world = open_world("insertion", seed=1)

A new one takes a line in `WORLDS`: a callable of (seed, cameras) that returns a World.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ganglion.core.errors import InputError, MissingExtra
from ganglion.core.specs import ActionSpec, RobotSpec, SensorSpec

if TYPE_CHECKING:
    from ganglion.simulation.world import World

WORLDS = {
    "insertion": "ganglion.simulation.insertion.world:open_insertion",
}


def open_world(name: str, seed: int, robot: RobotSpec | None = None) -> World:
    """A fresh world, at its beginning.

    Args:
        name: one of WORLDS.
        seed: of the case; equal seeds give equal worlds.
        robot: what drives it, if that is not just the world's own robot: its cameras, which may have other sizes and
            rates, are then the world's.

    Raises:
        InputError: there is no such world, or the robot is not one that it can be.
        MissingExtra: MuJoCo is not installed.
    """
    where = f"world {name}"
    if name not in WORLDS:
        raise InputError("is not known", where=where, remedy=f"use one of {sorted(WORLDS)}")
    if seed < 0:
        raise InputError(f"has no case of seed {seed}", where=where, remedy="give 0 or more")
    module, _, factory = WORLDS[name].partition(":")
    try:
        opened: World = getattr(importlib.import_module(module), factory)(seed, robot.cameras if robot else None)
    except ImportError as error:
        raise MissingExtra(error.name or module, "sim") from None
    if robot:
        _check_fit(robot, opened.robot, where)
    return opened


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
