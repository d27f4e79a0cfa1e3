"""A running dialogue between a wearer, an exoskeleton and a model: what a robot or a demo keeps between two questions.

    dialogue = ExoDialogue(previous=6)
    question = dialogue.ask("need more help", [jpeg])
    text = engine.generate(question.images, question.prompt, history=question.history, ...).text
    level = dialogue.take(text).level

Whatever a model writes, the level stays within ASSISTANCE_LIMITS. No torch, no model: only numbers and text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.tasks.answers import read_answer, write_answer
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS, SCHEMA, prompt

INVALID = "no valid answer: no change"
_DELTA = "assistance_delta"


@dataclass(frozen=True)
class Exchange:
    """An earlier question with its answer; the fields of a `Turn`, but images are whatever `ask` was given."""

    images: tuple[Any, ...]
    prompt: str
    answer: str


@dataclass(frozen=True)
class Question:
    """What to ask the model next: as an Example without the expected answer."""

    images: tuple[Any, ...]
    prompt: str
    history: tuple[Exchange, ...]


@dataclass(frozen=True)
class Outcome:
    """What an answer led to.

    answer  what the model said, with the change that was made; None where it said nothing valid
    delta   the change, percent points
    level   the assistance from now on, percent
    note    "" or what was wrong with the answer
    """

    answer: dict[str, Any] | None
    delta: float
    level: float
    note: str


class ExoDialogue:
    """Level and history of one wearer's dialogue.

    Args:
        previous: assistance so far, in percent.
        exchanges_kept: how many earlier exchanges a question carries; the image last seen is carried on.

    Raises:
        InputError: `previous` is outside ASSISTANCE_LIMITS.
    """

    def __init__(self, previous: float, exchanges_kept: int = 8) -> None:
        low, high = ASSISTANCE_LIMITS
        if not low <= previous <= high:
            raise InputError(f"previous assistance is {previous}", remedy=f"give {low} to {high} (percent)")
        if exchanges_kept < 0:
            raise InputError(f"exchanges_kept is {exchanges_kept}", remedy="give 0 or more")
        self._level, self._kept = previous, exchanges_kept
        self._history: tuple[Exchange, ...] = ()
        self._images: tuple[Any, ...] = ()
        self._unseen = True  # no exchange of the history shows these images
        self._asked: Question | None = None

    @property
    def level(self) -> float:
        """Assistance now, in percent: always within ASSISTANCE_LIMITS."""
        return self._level

    @property
    def history(self) -> tuple[Exchange, ...]:
        """The exchanges that the next question carries, first one first; their changes are those that were made."""
        return self._history

    def ask(self, feedback: str, images: Sequence[Any] = ()) -> Question:
        """The next question. Asking again without taking an answer replaces it.

        Args:
            feedback: what the wearer said; "" for nothing.
            images: the terrain ahead where it changed (files, JPEG bytes, arrays: what the engine takes); needed once.

        Raises:
            InputError: no image was ever shown.
        """
        if images:
            self._images, self._unseen = tuple(images), True
        if not self._images:
            raise InputError("no image of the terrain was shown yet", remedy="give one with the first question")
        shown = self._images if self._unseen or not self._history else ()
        self._asked = Question(shown, prompt(feedback, self._level), self._history)
        return self._asked

    def take(self, text: str) -> Outcome:
        """Apply the model's answer to the last question.

        An invalid answer changes nothing and is not carried on; a change is cut where it would leave the limits.

        Raises:
            GanglionError: nothing was asked.
        """
        if self._asked is None:
            raise GanglionError("an answer came before a question", remedy="call ask first")
        asked, self._asked = self._asked, None
        answer = read_answer(text, SCHEMA)
        if answer is None:
            return Outcome(None, 0, self._level, INVALID)
        said = int(answer[_DELTA])
        delta = self._allowed(said)
        self._level = _within_limits(self._level + delta)
        made = {"initial_assistance": int(answer["initial_assistance"]), _DELTA: delta}
        answer = {key: answer[key] for key in SCHEMA["required"]} | made
        self._remember(Exchange(asked.images, asked.prompt, write_answer(answer)))
        note = "" if delta == said else f"change of {said:+d} cut to {delta:+d}: limit reached"
        return Outcome(answer, delta, self._level, note)

    def _allowed(self, delta: int) -> int:
        """The whole number nearest to `delta` that keeps the level within the limits."""
        low, high = ASSISTANCE_LIMITS
        return min(max(delta, math.ceil(low - self._level)), math.floor(high - self._level))

    def _remember(self, exchange: Exchange) -> None:
        history = (*self._history, exchange)
        start = max(len(history) - self._kept, 0)
        kept = history[start:]
        if kept and not kept[0].images:  # like every dialogue that a model learns from, it begins with an image
            kept = (replace(kept[0], images=_last_images(history[:start])), *kept[1:])
        self._history, self._unseen = kept, False


def _within_limits(level: float) -> float:
    low, high = ASSISTANCE_LIMITS
    return min(max(level, low), high)


def _last_images(history: Sequence[Exchange]) -> tuple[Any, ...]:
    return next(exchange.images for exchange in reversed(history) if exchange.images)
