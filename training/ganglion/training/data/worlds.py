"""Synthetic demonstrations: an expert in a simulated world, episode by episode, each of a case of its own.

set.json  episodes/000000/ ...  (ganglion.training.demonstrations.episode_set)

With `--glances` they are short looks at scenes instead: no sensor, several goals and starts in each scene. They cost a
tenth of an episode each, and show a policy that has to learn to look more scenes than whole episodes could.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.simulation.rendering import load_mujoco
from ganglion.simulation.scenario import Scenario, Trial, get_scenario
from ganglion.training.data.maker import EpisodeMaker, Options, at_least
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.growing import Growing, grow_set
from ganglion.training.demonstrations.showing import check_show, show
from ganglion.training.demonstrations.simulated import record

CASES = 1_000_000  # of each --seed: sets of different seeds have no case in common
_SMALLEST_PX = 16


def world_set(name: str) -> EpisodeMaker:
    """What makes sets in the world of that name."""
    return EpisodeMaker(
        defaults={
            "noise": True,
            "glances": None,
            "cameras": None,
            "size": None,
            "workers": 2,
            "video": None,
            "plot": None,
        },
        check=functools.partial(_check, name),
        grow=functools.partial(_grow, name),
    )


def growing(scenario: Scenario, count: int, seed: int, options: Options) -> Growing:
    """The set that is asked for: of `count` cases, by `noise`, `glances`, `cameras` and `size`."""
    each, robot = options["glances"], _robot(scenario, options)
    make: Callable[[int], Episode | None]
    if each is None:
        make = functools.partial(_episode, scenario, robot, options["noise"], seed * CASES)
    else:
        make = functools.partial(_glance, scenario, robot, options["noise"], seed * CASES, each)
    told: dict[str, Any] = {
        "world": scenario.name,
        "seed": seed,
        "noise": options["noise"],
        "glances": each,
        "cameras": [camera.name for camera in robot.cameras],
        "size": options["size"],
        "mujoco": load_mujoco().__version__,  # another one's physics and pixels may be others
    }
    return Growing(robot, told, make, count * (each or 1))


def _check(name: str, options: Options) -> None:
    scenario = get_scenario(name)
    at_least("workers", options["workers"], 1)
    if options["glances"] is not None:
        at_least("glances", options["glances"], 1)
        if scenario.glance is None:
            raise InputError(f"--glances is no option of {name}", remedy="leave it out")
    if options["size"] is not None and not _SMALLEST_PX <= options["size"] <= scenario.largest_px:
        remedy = f"give {_SMALLEST_PX} to {scenario.largest_px}"
        raise InputError(f"--size is {options['size']}", remedy=remedy)
    known = [camera.name for camera in scenario.robot.cameras]
    if unknown := [camera for camera in _chosen(options) or [] if camera not in known]:
        raise InputError(f"{name} has no camera {unknown[0]!r}", remedy=f"give --cameras some of {', '.join(known)}")
    check_show(options["video"], options["plot"])


def _grow(name: str, out: Path, count: int, seed: int, options: Options, force: bool) -> str:
    wanted = growing(get_scenario(name), count, seed, options)
    if wanted.count >= CASES:
        raise InputError(f"{wanted.count} episodes are asked for", remedy=f"a set has less than {CASES}")
    attempts = grow_set(out, wanted, workers=options["workers"], force=force)
    show(out, 0, options["video"], options["plot"])
    told = f"{wanted.count} episodes of {name} in {out}"
    failed = f"; in {attempts - wanted.count} of {attempts} cases the expert failed: they were left out"
    return told + failed if options["glances"] is None else told


def _chosen(options: Options) -> list[str] | None:
    cameras: str | list[str] | None = options["cameras"]
    return [cameras] if isinstance(cameras, str) else cameras


def _robot(scenario: Scenario, options: Options) -> RobotSpec:
    robot, chosen, size = scenario.robot, _chosen(options), options["size"]
    cameras = [camera for camera in robot.cameras if chosen is None or camera.name in chosen]
    sized = cameras if size is None else [replace(camera, height=size, width=size) for camera in cameras]
    return replace(robot, cameras=tuple(sized), sensors=robot.sensors if options["glances"] is None else ())


def _episode(scenario: Scenario, robot: RobotSpec, noise: bool, first: int, attempt: int) -> Episode | None:
    """The whole episode of a case; None if the expert failed."""
    seed = first + attempt
    trial = scenario.begin(seed, robot)
    with closing(trial.world):
        # At rest until a sensor's window is full: serving begins to act then, too.
        rest_s = max((sensor.window_samples / sensor.rate_hz for sensor in robot.sensors), default=0.0)
        episode, outcome = _recorded(trial, seed, (seed,), noise, rest_s), trial.judge()
    return replace(episode, notes={"seed": seed, "outcome": dict(outcome)}) if outcome["success"] else None


def _glance(scenario: Scenario, robot: RobotSpec, noise: bool, first: int, each: int, attempt: int) -> Episode:
    """One of `each` glances at the scene of a case."""
    assert scenario.glance is not None
    seed, number = first + attempt // each, attempt % each
    trial = scenario.glance(seed, number, robot)
    with closing(trial.world):
        episode = _recorded(trial, seed, (seed, number), noise, rest_s=0.0)
    return replace(episode, notes={"seed": seed, "glance": number})


def _recorded(trial: Trial, session: int, seed: tuple[int, ...], noise: bool, rest_s: float) -> Episode:
    return record(
        trial.world,
        trial.act,
        seconds=trial.seconds,
        instruction=trial.instruction,
        session=str(session),
        noise=trial.noise if noise else lambda: 0.0,
        seed=seed,
        rest_s=rest_s,
    )
