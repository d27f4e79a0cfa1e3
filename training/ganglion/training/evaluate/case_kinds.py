"""What one case is, task by task: its options, the question, and what an answer leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.step_predictor import GuiSession, StepPredictor
from ganglion.core.tasks import EXO_ASSIST, GUI_STEP, Example, ExoDialogue
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS
from ganglion.core.tasks.gui_prompt import Fits, prompt
from ganglion.training.evaluate.config import Case


@dataclass(frozen=True)
class Question:
    """A case, ready to be asked.

    example  fits -> what to ask, within what a model takes
    outcome  a model's text -> what it leads to, as JSON data
    keep     called with the text of the model that the user tuned, when all have answered
    """

    example: Callable[[Fits | None], Example]
    outcome: Callable[[str], dict[str, Any]]
    keep: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Kind:
    """How one case of a task is asked: options it needs and what they take, others it knows, and how it starts."""

    needs: Mapping[str, str]
    knows: tuple[str, ...]
    start: Callable[[Case], Question]


def kind_of(task: str, case: Case) -> Kind:
    """The kind of a task's cases; the case has the options that it needs, and no others.

    Raises:
        InputError: naming the option, or the task of which one case can't be asked.
    """
    if task not in KINDS:
        raise InputError(f"one case of {task} can't be asked, only of {' and '.join(KINDS)}", remedy="use --data")
    kind = KINDS[task]
    for name in case.options:
        if name not in kind.needs and name not in kind.knows:
            raise InputError(f"--{name} means nothing for {task}", remedy="leave it out")
    for name, value in kind.needs.items():
        if name not in case.options:
            raise InputError(f"--image alone is no case of {task}", remedy=f"add --{name} {value}")
    return kind


def _exo(case: Case) -> Question:
    low, high = ASSISTANCE_LIMITS
    previous = case.options["previous"]
    if not low <= previous <= high:
        raise InputError(f"--previous is {previous:g}", remedy=f"give {low} to {high} (percent)")

    def asked() -> tuple[ExoDialogue, Example]:
        dialogue = ExoDialogue(previous)
        question = dialogue.ask(case.options.get("feedback", ""), [case.image])
        return dialogue, Example(question.images, question.prompt, "", {})

    def outcome(text: str) -> dict[str, Any]:
        found = asked()[0].take(text)
        return {"answer": found.answer, "level": found.level, "note": found.note}

    return Question(lambda fits: asked()[1], outcome)


def _gui(case: Case) -> Question:
    goal: str = case.options["goal"]
    file: Path | None = case.options.get("memory")
    memory = _session("", goal, file).memory

    def outcome(text: str) -> dict[str, Any]:
        step = _session(text, goal, file).step(case.image)
        return {
            "answer": step.answer,
            "point_pixels": step.point_pixels,
            "short_term_memory": step.short_term_memory.to_json(),
            "long_term_memory": step.long_term_memory.to_json(),
        }

    def keep(text: str) -> None:
        if file is not None:
            session = _session(text, goal, file)
            session.step(case.image)
            session.save(file)

    return Question(lambda fits: Example((case.image,), prompt(goal, memory, fits), "", {"goal": goal}), outcome, keep)


def _session(text: str, goal: str, file: Path | None) -> GuiSession:
    """The task so far, with a model that says `text` next."""
    predictor = StepPredictor(lambda image, prompt: text)
    if file is None or not file.exists():
        return GuiSession(predictor, goal)
    session = GuiSession.load(file, predictor)
    if session.goal != goal:
        raise InputError(
            f"is of the goal {session.goal[:80]!r}", where=file, remedy="give that as --goal, or another --memory"
        )
    return session


KINDS = {
    EXO_ASSIST.name: Kind({"previous": "PERCENT"}, ("feedback",), _exo),
    GUI_STEP.name: Kind({"goal": "TEXT"}, ("memory",), _gui),
}
