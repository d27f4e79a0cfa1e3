"""Answering tasks of several steps, where an answer may go into later prompts, by three kinds of memory.

NAME              propagated: made of the model's own answers to the steps before, right or wrong
NAME_true_memory  made of the expected answers to the steps before
NAME_no_memory    empty at every step

All tasks are at the same step at once, so that batches stay full. What was asked before is not asked again: the first
step of a task is the same question in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, Sequential, Task
from ganglion.training.data.episodes import episodes

TRUE_MEMORY, NO_MEMORY = "_true_memory", "_no_memory"
Ask = Callable[[str, Sequence[Example]], Sequence[str]]
"""(name of the column, what is asked) -> the answers"""
Fits = Callable[[Example, str], bool]
"""(example, another prompt for it) -> whether the model takes it"""


@dataclass(frozen=True)
class Asked:
    """A column: every step as it was asked, and the answers."""

    examples: Sequence[Example]
    texts: list[str]


def columns(name: str) -> tuple[str, str, str]:
    """The columns of a model, in a report's order."""
    return name, name + TRUE_MEMORY, name + NO_MEMORY


def answer_steps(
    task: Task, name: str, examples: Sequence[Example], ask: Ask, fits: Fits | None = None
) -> dict[str, Asked]:
    """All three columns of one model.

    Args:
        task: one with steps.
        name: the model's.
        examples: steps of whole tasks.
        ask: writes the answers.
        fits: by which memory is cut; None where there is no limit.

    Raises:
        InputError: a goal alone does not fit, or steps of a task lie apart.
    """
    assert task.sequential
    tasks = episodes(task, examples)
    own, true, none = columns(name)
    answered = _Answered(ask)
    truth = [
        _carried(task.sequential, examples, [e.answer for e in examples], steps, k, fits) for steps, k in _at(tasks)
    ]
    empty = [_carried(task.sequential, examples, [], steps, k, fits) for steps, k in _at(tasks)]
    found = {true: Asked(truth, answered(true, truth)), none: Asked(empty, answered(none, empty))}
    return {own: _propagated(task.sequential, own, examples, tasks, answered, fits), **found}


def check_memories(task: Task, examples: Sequence[Example]) -> None:
    """Check that each row's memory is what the expected answers before it leave.

    Raises:
        InputError: one is not.
    """
    assert task.sequential
    answers = [example.answer for example in examples]
    for steps, k in _at(episodes(task, examples)):
        index = steps[k]
        if _carried(task.sequential, examples, answers, steps, k, None).prompt != examples[index].prompt:
            raise InputError(
                f"row {index}: its memory is not what the {k} steps of its task before it leave",
                remedy="give whole tasks with the memories that their outputs make",
            )


def _at(tasks: Sequence[Sequence[int]]) -> list[tuple[Sequence[int], int]]:
    return [(steps, k) for steps in tasks for k in range(len(steps))]


def _carried(
    sequential: Sequential,
    examples: Sequence[Example],
    answers: Sequence[str] | Mapping[int, str],
    steps: Sequence[int],
    k: int,
    fits: Fits | None,
) -> Example:
    """Step k of a task, with the memory that the answers to its steps before leave; empty without any answers."""
    example = examples[steps[k]]
    before = [answers[index] for index in steps[:k]] if answers else []
    return sequential.carried(example, before, (lambda prompt: fits(example, prompt)) if fits else None)


def _propagated(
    sequential: Sequential,
    name: str,
    examples: Sequence[Example],
    tasks: Sequence[Sequence[int]],
    answered: _Answered,
    fits: Fits | None,
) -> Asked:
    asked: dict[int, Example] = {}
    texts: dict[int, str] = {}
    for k in range(max(map(len, tasks))):
        going = [steps for steps in tasks if len(steps) > k]
        now = {steps[k]: _carried(sequential, examples, texts, steps, k, fits) for steps in going}
        texts |= zip(now, answered(name, list(now.values())), strict=True)
        asked |= now
    order = range(len(examples))
    return Asked([asked[index] for index in order], [texts[index] for index in order])


class _Answered:
    """Answers of one model so far, by what was asked. An interrupted evaluation asks in the same batches again."""

    def __init__(self, ask: Ask) -> None:
        self._ask, self._texts = ask, dict[Hashable, str]()

    def __call__(self, name: str, examples: Sequence[Example]) -> list[str]:
        new = {key: example for example in examples if (key := _question(example)) not in self._texts}
        if new:
            self._texts |= zip(new, self._ask(name, list(new.values())), strict=True)
        return [self._texts[_question(example)] for example in examples]


def _question(example: Example) -> Hashable:
    """All that a model sees of it."""
    seen = tuple((turn.prompt, turn.images) for turn in example.turns)
    return seen, tuple(turn.answer for turn in example.history)
