"""One robot for several sets of episodes: what all have must agree, what some lack is absent there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec


def common_robot(named: Sequence[tuple[str, RobotSpec]]) -> RobotSpec:
    """The robot of all sets.

    Actions and cameras are those of each; a sensor or a state may be missing from some.

    Args:
        named: where each spec is from, and the spec.

    Raises:
        InputError: two sets contradict each other.
    """
    where, robot = named[0]
    for other_where, other in named[1:]:
        _same("actions", robot.actions, other.actions, where, other_where)
        _same("cameras", robot.cameras, other.cameras, where, other_where)
        if robot.state and other.state:
            _same("state", robot.state, other.state, where, other_where)
        if robot.sensors and other.sensors:
            _same("sensors", robot.sensors, other.sensors, where, other_where)
        robot = replace(robot, sensors=robot.sensors or other.sensors, state=robot.state or other.state)
    return robot


def _same(what: str, ours: object, theirs: object, where: str, other: str) -> None:
    if ours != theirs:
        raise InputError(
            f"has other {what} than {where}", where=other, remedy="train on sets of one robot, or correct its set.json"
        )
