"""The prompt of gui_step: the goal and both memories, in few words, since small models read it."""

from __future__ import annotations

from collections.abc import Callable

from ganglion.core.errors import InputError
from ganglion.core.gui_memory import GuiMemory, one_line

Fits = Callable[[str], bool]
"""prompt -> whether it leaves room for an answer; given by whoever knows the model."""


def prompt(goal: str, memory: GuiMemory, fits: Fits | None = None) -> str:
    """The user's turn.

    Where it does not fit, the oldest steps are left out, one by one, then the oldest facts; never the goal. The number
    of steps that are no longer shown stays in it.

    Raises:
        InputError: the goal alone does not fit.
    """
    for shown in memory.shrinking():
        text = _text(goal, shown)
        if fits is None or fits(text):
            return text
    raise InputError(f"the goal {goal[:40]!r} is too long for this model", remedy="say it in fewer words")


def _text(goal: str, memory: GuiMemory) -> str:
    return (
        f"Goal: {one_line(goal)}\nDone: {memory.short_term.text}\nRemembered: {memory.long_term.text}\n"
        "Next step? Reply in JSON."
    )
