"""Worlds by name, each to be begun again and again with another seed: what is recorded, and what policies are tried in.

A scenario is a line in `_SCENARIOS`; it is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.simulation.world import World

Floats = npt.NDArray[np.float64]

_SCENARIOS = {
    "exo_walk": "ganglion.simulation.exo_walk.scenario:EXO_WALK",
    "insertion": "ganglion.simulation.insertion.scenario:INSERTION",
}


@dataclass(frozen=True)
class Trial:
    """One episode that is about to begin, and an expert who knows how it should go.

    world        at its beginning
    seconds      that the episode has, unless the world comes to its end before
    instruction  what is asked, in words
    act          what the expert commands for the next hop, (action dim,)
    noise        standard deviation, now, of what may be added to that, (action dim,): the expert still gets there
    judge        what came of it if it ended now, as JSON data with a bool "success" in it
    """

    world: World
    seconds: float
    instruction: str
    act: Callable[[], Floats]
    noise: Callable[[], Floats]
    judge: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Scenario:
    """A world of which each seed gives another case. Equal seeds and robots give equal trials, in any process.

    name        as commands call it
    robot       of its trials; those who begin one may give it other cameras of the same names, or no sensors
    largest_px  that a camera's edge can have
    begin       (seed, robot): the trial of a case
    glance      (seed, number, robot): a short trial in that case's scene, with another goal and start for each number;
                None for a world in which looks alone teach nothing
    """

    name: str
    robot: RobotSpec
    largest_px: int
    begin: Callable[[int, RobotSpec], Trial]
    glance: Callable[[int, int, RobotSpec], Trial] | None = None


def scenario_names() -> tuple[str, ...]:
    """All worlds that there are."""
    return tuple(_SCENARIOS)


def get_scenario(name: str) -> Scenario:
    """The scenario of a name.

    Raises:
        InputError: there is none.
    """
    if name not in _SCENARIOS:
        raise InputError(f"unknown world {name!r}", remedy=f"use one of {', '.join(_SCENARIOS)}")
    module, _, attribute = _SCENARIOS[name].partition(":")
    scenario: Scenario = getattr(importlib.import_module(module), attribute)
    return scenario
