"""Walks with assistance in closed loop: a model looks ahead twice a second, a device commands torques every hop.

What a model says becomes a percent by `Assistance`; beside it runs a second one that is told the truth at the same
moments, which says what the percent should be. Torques go through the limits of range and slew that the bridge keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ganglion.core.images import encode_jpeg
from ganglion.core.limits import Limits, limit
from ganglion.core.tasks.answers import write_answer
from ganglion.core.tasks.exo_assistance import Assistance
from ganglion.core.tasks.exo_dialogue import Question
from ganglion.core.tasks.exo_rules import FEEDBACK, expected_answer, feedback_kind
from ganglion.simulation.exo_walk import Assist, Summary, Walk, exo_walk_robot
from ganglion.simulation.exo_walk.world import HOP, ExoWalk
from ganglion.training.closed_loop.driver import Driver

LOOK_S = 0.5  # between looks; an answer takes effect at the next look
REST_S = 1.0  # nothing is commanded before a sensor's window is full
_QUIET_S = 1.0  # at the beginning, in which the wearer says nothing
_STREAM = 0x5A1D

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]
Answer = Callable[[Sequence[Question]], Sequence[str]]
"""What a model writes to questions of several wearers, whose images are JPEG bytes."""


class Device(Protocol):
    """What turns readings and percent into torque, for B wearers at once."""

    def torques(self, samples: Array, states: Floats) -> Floats:
        """(B, 13, 16) of the last hop and (B, 2) -> (B, 4) N m."""


class Laws:
    """The devices' own law."""

    def __init__(self, walks: Sequence[Walk]) -> None:
        self._each = [Assist(walk) for walk in walks]

    def torques(self, samples: Array, states: Floats) -> Floats:
        """See Device."""
        return np.stack([law.torque(s, x) for law, s, x in zip(self._each, samples, states, strict=True)])


class Imitation:
    """A trained policy that reads the sensor and the state."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def torques(self, samples: Array, states: Floats) -> Floats:
        """See Device."""
        count = len(samples)
        self._driver.feel(samples, np.ones((count, 4), np.bool_))
        return self._driver.decide(states, np.zeros(count))[:, 0].astype(np.float64)


@dataclass(frozen=True)
class Utterance:
    """What the wearer says, and when."""

    time_s: float
    text: str


@dataclass
class Look:
    """One look of a model.

    terrain  what was ahead, None where a frame is ambiguous
    said     the feedback that was asked about
    task     the terrain in the answer, None where that was invalid
    """

    time_s: float
    terrain: str | None
    said: str
    task: str | None = None


@dataclass
class Walked:
    """One walk.

    percents  each hop's percent, and
    right     what it would have been had every answer been right
    levels    and right_levels: what these were on their way to
    """

    walk: Walk
    percents: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    right_levels: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    summary: Summary | None = None


def draw_script(walk: Walk, seconds: float, count: int = 2) -> list[Utterance]:
    """What the wearer of a walk says: known phrases at drawn times, in order."""
    rng = np.random.default_rng([walk.seed, _STREAM])
    kinds = [kind for kind in FEEDBACK if kind != "none"]
    times = np.sort(rng.uniform(_QUIET_S, max(seconds - 2 * LOOK_S, _QUIET_S), count))
    return [Utterance(float(at), str(rng.choice(FEEDBACK[str(rng.choice(kinds))].phrases))) for at in times]


def walk_all(
    walks: Sequence[Walk], device: Device | None, answer: Answer | None, *, assisted: bool = True
) -> list[Walked]:
    """Walk each to its end, all at once.

    Args:
        walks: any number.
        device: None commands nothing.
        answer: what looks; None: nobody does, and the percent is the right one.
        assisted: False keeps the percent at 0.
    """
    wearers = [_Wearer(walk) for walk in walks]
    robot = wearers[0].world.robot
    rate_hz, limits = robot.actions.rate_hz, Limits.of(robot.actions)
    samples, states = np.zeros((len(walks), HOP, 16), np.float32), np.zeros((len(walks), 2))
    commands = np.zeros((len(walks), robot.actions.dim))
    hop, every, rest = 0, round(LOOK_S * rate_hz), round(REST_S * rate_hz)
    while moving := [index for index, wearer in enumerate(wearers) if not wearer.world.done]:
        if assisted and hop % every == 0:
            _look([wearers[index] for index in moving], answer)
        for index in moving:
            wearers[index].prepare(1 / rate_hz, seen=answer is not None)
            states[index] = wearers[index].world.state()
        wanted = device.torques(samples, states) if device else np.zeros_like(commands)
        if hop >= rest:
            pairs = zip(wanted, commands, strict=True)
            commands = np.stack([limit(target, before, 1 / rate_hz, limits) for target, before in pairs])
        for index in moving:
            samples[index] = wearers[index].world.step(commands[index])
        hop += 1
    return [wearer.end() for wearer in wearers]


def _look(wearers: Sequence[_Wearer], answer: Answer | None) -> None:
    """Take the answers to the last look, then look again."""
    for wearer in wearers:
        wearer.take()
    for wearer in wearers:
        wearer.ask(seen=answer is not None)
    if answer is not None:
        texts = answer([wearer.question for wearer in wearers if wearer.question is not None])
        for wearer, text in zip(wearers, texts, strict=True):
            wearer.text = text


class _Wearer:
    """One walk on its way."""

    def __init__(self, walk: Walk) -> None:
        self.world = ExoWalk(walk, exo_walk_robot())
        self.question: Question | None = None
        self.text = ""
        self._truth: str | None = None
        self._seen, self._right = Assistance(), Assistance()
        first, last = self.world.walked
        self._script = draw_script(walk, (last - first) / 650.0)
        self._walked = Walked(walk)

    def take(self) -> None:
        """Take the answer to the last question, and of the one who is told the truth."""
        if self._truth is not None:
            self._right.take(self._truth)
        if self.question is not None:
            answer = self._seen.take(self.text).answer
            self._walked.looks[-1].task = answer["task"] if answer else None

    def ask(self, *, seen: bool) -> None:
        """Ask about what is ahead now, and about what was said since."""
        now_s = self.world.time_s
        while self._script and self._script[0].time_s <= now_s:
            said = self._script.pop(0).text
            self._seen.say(said)
            self._right.say(said)
        self._right.ask([b""])
        kind = feedback_kind(self._right.said) or "none"
        self._truth = write_answer(expected_answer(self.world.walk.terrain, kind, self._right.level))
        if seen:
            self._walked.looks.append(Look(now_s, self.world.terrain_ahead(), self._seen.said))
            self.question = self._seen.ask([encode_jpeg(self.world.frame())])

    def prepare(self, seconds: float, *, seen: bool) -> None:
        """Tell the device the percent of the next hop."""
        percent, right = self._seen.advance(seconds), self._right.advance(seconds)
        walked = self._walked
        walked.percents.append(percent if seen else right)
        walked.right.append(right)
        walked.levels.append(self._seen.level if seen else self._right.level)
        walked.right_levels.append(self._right.level)
        self.world.set_assistance(walked.percents[-1])

    def end(self) -> Walked:
        """What came of it, with the last answer, which was too late to matter."""
        self.take()
        self._walked.summary = self.world.summary()
        self.world.close()
        return self._walked
