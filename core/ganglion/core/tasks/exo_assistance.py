"""A wearer's assistance over a walk: what a model says of terrain and feedback, as a percent that never jumps.

    assistance = Assistance()
    assistance.say("need more help")                # whenever the wearer speaks
    question = assistance.ask([jpeg])               # at each look
    assistance.take(engine.generate(question.images, question.prompt).text)
    percent = assistance.advance(0.02)              # every tick of the device

The level is the terrain's initial assistance and, on top of it, what feedback changed; both by `exo_rules`. Another
terrain counts once several answers in a row name it. Every look is a question of its own, without earlier exchanges.
No torch, no model: only numbers and text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ganglion.core.tasks.exo_dialogue import ExoDialogue, Outcome, Question
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS, INITIAL_ASSISTANCE, TERRAINS

RATE_PERCENT_S = 4.0  # percent points that assistance changes by in a second, at most: twice a request's two points
CONFIRMATIONS = 2


class Assistance:
    """Of one wearer, from a standstill without help on.

    Args:
        rate_percent_s: percent points by which assistance changes in a second, at most.
        confirmations: answers in a row that must name another terrain before it counts; the first counts at once.
    """

    def __init__(self, rate_percent_s: float = RATE_PERCENT_S, confirmations: int = CONFIRMATIONS) -> None:
        self._rate, self._confirmations = rate_percent_s, confirmations
        self._dialogue = ExoDialogue(0, exchanges_kept=0)
        self._said: deque[str] = deque()
        self._terrain: str | None = None
        self._named: str | None = None
        self._times, self._percent = 0, 0.0

    @property
    def level(self) -> float:
        """Percent that the percent given is on its way to; always within ASSISTANCE_LIMITS."""
        return self._dialogue.level

    @property
    def percent(self) -> float:
        """Percent now."""
        return self._percent

    @property
    def terrain(self) -> str | None:
        """The terrain that counts; None before the first valid answer, and the level is 0 till then."""
        return self._terrain

    @property
    def said(self) -> str:
        """What the next question says that the wearer said; "" for nothing."""
        return self._said[0] if self._said else ""

    def say(self, feedback: str) -> None:
        """The wearer said something: it goes with the next question, and again until an answer to it is valid."""
        self._said.append(feedback)

    def ask(self, images: Sequence[Any]) -> Question:
        """The next question, with the terrain ahead (files, JPEG bytes, arrays: what the engine takes)."""
        return self._dialogue.ask(self.said, images)

    def take(self, text: str) -> Outcome:
        """Apply the model's answer to the last question; an invalid one changes nothing.

        Raises:
            GanglionError: nothing was asked.
        """
        outcome = self._dialogue.take(text)
        if outcome.answer is not None:
            if self._said:
                self._said.popleft()
            self._see(outcome.answer["task"])
        return outcome

    def advance(self, seconds: float) -> float:
        """Let time go on; the percent from now on."""
        most = self._rate * seconds
        self._percent += min(max(self.level - self._percent, -most), most)
        return self._percent

    def _see(self, terrain: str) -> None:
        self._times = self._times + 1 if terrain == self._named else 1
        self._named = terrain
        if terrain != self._terrain and (self._terrain is None or self._times >= self._confirmations):
            change = _initial(terrain) - _initial(self._terrain)
            low, high = ASSISTANCE_LIMITS
            self._dialogue = ExoDialogue(min(max(self.level + change, low), high), exchanges_kept=0)
            self._terrain = terrain


def _initial(terrain: str | None) -> int:
    return INITIAL_ASSISTANCE[TERRAINS[terrain].difficulty] if terrain else 0
