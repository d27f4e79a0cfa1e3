"""What tests of recording share: insertions that are short, felt through a short window, and judged by their seed."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganglion.core.specs import RobotSpec
from ganglion.simulation.scenario import Scenario, Trial, get_scenario
from ganglion.training.data.worlds import CASES, growing
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.growing import Growing, grow_set

INSERTION = get_scenario("insertion")
ROBOT = replace(INSERTION.robot, sensors=(replace(INSERTION.robot.sensors[0], window_samples=130),))
OPTIONS: dict[str, Any] = {"noise": True, "glances": None, "cameras": "wrist", "size": 32}


def begin_short(seed: int, robot: RobotSpec) -> Trial:
    """A tenth of a second, in which seeds 1, 5, 9, ... fail."""
    return replace(INSERTION.begin(seed, robot), seconds=0.1, judge=lambda: {"success": seed % CASES % 4 != 1})


SHORT = replace(INSERTION, robot=ROBOT, begin=begin_short)


def short(count: int, seed: int = 0, scenario: Scenario = SHORT, **options: Any) -> Growing:
    """A set of so many cases."""
    return growing(scenario, count, seed, {**OPTIONS, **options})


def grown(folder: Path, count: int, **options: Any) -> tuple[Path, int]:
    """A set of so many short insertions, and how many attempts it took."""
    return folder, grow_set(folder, short(count, **options))


def end_of_a_worker(number: int) -> Episode | None:
    """An attempt whose process dies with it, unless it is the main one."""
    if multiprocessing.parent_process() is not None and number == 2:
        os._exit(9)
    return short(0).make(number)


def always_fails(number: int) -> Episode | None:
    """An attempt that fails."""
    return None
