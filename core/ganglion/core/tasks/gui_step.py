"""gui_step: the next step on a screen, from a screenshot, the user's goal and what is remembered of the steps before.

A row is one step of a task; its memories are what the true steps before it leave, so that a model learns from the very
prompts it meets when its own answers fill them. `gui_rows` reads rows, `gui_metrics` judges answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ganglion.core.gui_memory import GuiMemory
from ganglion.core.tasks.answers import read_answer, strict_json
from ganglion.core.tasks.gui_metrics import metrics
from ganglion.core.tasks.gui_prompt import Fits, prompt
from ganglion.core.tasks.gui_rows import from_table, read_row
from ganglion.core.tasks.gui_schema import ACTIONS, POINTING, SCHEMA
from ganglion.core.tasks.registry import register_task
from ganglion.core.tasks.task import Example, Sequential, Task

__all__ = [
    "ACTIONS",
    "GUI_STEP",
    "POINTING",
    "SCHEMA",
    "carried",
    "from_table",
    "labels",
    "metrics",
    "prompt",
    "read_row",
]


def carried(example: Example, answers: Sequence[str], fits: Fits | None = None) -> Example:
    """The step with the memory that these answers to the steps before it leave; cut where the prompt does not fit.

    Raises:
        InputError: the goal alone does not fit.
    """
    memory = GuiMemory()
    for text in answers:
        memory = memory.after(read_answer(text, SCHEMA))
    return replace(example, prompt=prompt(example.row["goal"], memory, fits))


def labels(example: Example) -> dict[str, Sequence[str]]:
    """What a data set is counted by: the action, what says where it acts, and whether a fact is kept."""
    answer, screen = strict_json(example.answer), example.context
    return {
        "action": [answer["action"]],
        "grounding": ["box" if screen.box else "point" if screen.point else "none"],
        "remember": ["a fact" if answer["remember"] else "nothing"],
    }


GUI_STEP = register_task(
    Task(
        name="gui_step",
        summary="the next step on a screen, with a memory of the steps before",
        schema=SCHEMA,
        max_new_tokens=320,
        headline="step_success",
        read_row=read_row,
        metrics=metrics,
        from_table=from_table,
        sequential=Sequential(episode=lambda example: example.row["task_id"], carried=carried),
        labels=labels,
    )
)
