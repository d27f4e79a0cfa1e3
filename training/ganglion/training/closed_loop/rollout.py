"""B worlds that one driver drives, on virtual clocks, under conditions: late features, a lost sensor or camera."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.core.images import encode_jpeg
from ganglion.core.limits import Limits, limit
from ganglion.core.specs import RobotSpec
from ganglion.simulation.world import World
from ganglion.training.closed_loop.driver import Driver

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Conditions:
    """What an episode is like.

    seconds         that the policy drives
    rest_s          before, in which nothing is commanded and the sensor's window fills
    latency_ms      from a frame's exposure until its VL features are there
    sensor_until_s  from when on the sensor gives nothing, None: never
    camera_until_s  from when on the cameras see black, None: never
    sensor_groups   names of the channel groups that are given, None: all
    state           whether the robot's state is
    """

    seconds: float
    rest_s: float = 1.0
    latency_ms: float = 0.0
    sensor_until_s: float | None = None
    camera_until_s: float | None = None
    sensor_groups: tuple[str, ...] | None = None
    state: bool = True


@dataclass(frozen=True)
class Traces:
    """What happened, hop by hop, of B robots over T hops.

    actions  (T, B, action dim) commanded, in units
    states   (T, B, state dim) when they were decided, in units
    ages_s   (T, B) of what had been seen, nan before anything was
    """

    actions: Floats
    states: Floats
    ages_s: Floats


def roll_out(worlds: Sequence[World], driver: Driver, goals: Sequence[str], conditions: Conditions) -> Traces:
    """Drive fresh worlds to the end of their episodes; they stay open, to be judged.

    A command is the first row of the newest chunk, within the limits of range and slew that the bridge keeps.
    """
    robot, count = worlds[0].robot, len(worlds)
    rate_hz, limits = robot.actions.rate_hz, Limits.of(robot.actions)
    rest, hops = round(conditions.rest_s * rate_hz), round((conditions.rest_s + conditions.seconds) * rate_hz)
    previous = np.zeros((count, robot.actions.dim))
    eyes = _Eyes(worlds, driver, goals, conditions)
    given = _given_groups(robot, conditions)
    actions, states, ages = [], [], []
    for hop in range(hops):
        now_s = hop / rate_hz
        eyes.look(now_s)
        state = np.stack([world.state() for world in worlds])
        ages_s = eyes.ages_s(now_s)
        if hop >= rest:
            chunks = driver.decide(state if conditions.state else None, np.nan_to_num(ages_s))
            previous = np.stack(
                [limit(c[0].astype(np.float64), p, 1 / rate_hz, limits) for c, p in zip(chunks, previous, strict=True)]
            )
        samples = np.stack([world.step(action) for world, action in zip(worlds, previous, strict=True)])
        if driver.feels:
            lost = conditions.sensor_until_s is not None and now_s >= conditions.sensor_until_s
            driver.feel(samples, np.tile(given & (not lost), (count, 1)))
        actions.append(previous)
        states.append(state)
        ages.append(ages_s)
    return Traces(np.stack(actions), np.stack(states), np.stack(ages))


def _given_groups(robot: RobotSpec, conditions: Conditions) -> npt.NDArray[np.bool_]:
    names = [group.name for sensor in robot.sensors for group in sensor.groups]
    return np.array([conditions.sensor_groups is None or name in conditions.sensor_groups for name in names], np.bool_)


class _Eyes:
    """Frames at their rate, handed to the driver when their features would be there."""

    def __init__(self, worlds: Sequence[World], driver: Driver, goals: Sequence[str], conditions: Conditions) -> None:
        self._worlds, self._driver, self._goals, self._conditions = worlds, driver, goals, conditions
        self._cameras = worlds[0].robot.cameras if driver.sees else ()
        self._rows = list(range(len(worlds)))
        # Nothing is decided during the rest: of its frames only those count that are the newest at its end.
        needed_s = conditions.rest_s - conditions.latency_ms / 1e3
        self._due = max(0, math.floor(needed_s * self._cameras[0].rate_hz)) if self._cameras else 0
        self._seen_s = float("nan")
        self._waiting: deque[tuple[float, list[dict[str, bytes]]]] = deque()

    def look(self, now_s: float) -> None:
        """Expose what is due; see the newest views that have had their time."""
        if self._cameras and self._due <= now_s * self._cameras[0].rate_hz + 1e-9:
            self._due += 1
            self._waiting.append((now_s, [self._views(world, now_s) for world in self._worlds]))
        newest = None
        while self._waiting and self._waiting[0][0] + self._conditions.latency_ms / 1e3 <= now_s + 1e-9:
            newest = self._waiting.popleft()
        if newest is not None:
            self._seen_s = newest[0]
            self._driver.look(self._rows, newest[1], self._goals)

    def ages_s(self, now_s: float) -> Floats:
        """(B,) seconds since the exposure of what was seen last."""
        return np.full(len(self._worlds), now_s - self._seen_s)

    def _views(self, world: World, now_s: float) -> dict[str, bytes]:
        until = self._conditions.camera_until_s
        dark = until is not None and now_s >= until
        frames = {camera.name: world.frame(camera.name) for camera in self._cameras}
        return {name: encode_jpeg(np.zeros_like(frame) if dark else frame) for name, frame in frames.items()}
