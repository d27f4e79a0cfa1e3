"""Insertion as one of the worlds that are recorded and tried by name."""

from __future__ import annotations

from dataclasses import asdict

from ganglion.core.specs import RobotSpec
from ganglion.simulation.insertion.case import Case, draw_case, glance, insertion_robot
from ganglion.simulation.insertion.expert import Expert
from ganglion.simulation.insertion.outcome import SECONDS, judge
from ganglion.simulation.insertion.scene import LARGEST_PX
from ganglion.simulation.insertion.world import Insertion
from ganglion.simulation.scenario import Scenario, Trial

GLANCE_S = 0.24  # three views at 10 Hz, and the actions that go with the last


def _begin(seed: int, robot: RobotSpec) -> Trial:
    return _trial(draw_case(seed), SECONDS, robot)


def _glance(seed: int, number: int, robot: RobotSpec) -> Trial:
    return _trial(glance(draw_case(seed), number), GLANCE_S, robot)


def _trial(case: Case, seconds: float, robot: RobotSpec) -> Trial:
    world = Insertion(case, robot)
    expert = Expert(world)
    return Trial(world, seconds, case.instruction, expert.act, expert.noise, lambda: asdict(judge(world)))


INSERTION = Scenario("insertion", insertion_robot(), LARGEST_PX, _begin, _glance)
