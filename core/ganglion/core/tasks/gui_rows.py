"""The rows of gui_step: a step as JSON or Arrow holds it, and the same from a table of cells.

A table has the columns Task_id, Image_id, Instruction, Output and Grounding, the last two in JSON; the steps of a task
lie together, in order. The memories before each step are filled in by folding the outputs of the steps before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.gui_memory import GuiMemory
from ganglion.core.tasks.answers import strict_json, write_answer
from ganglion.core.tasks.gui_grounding import find_screen, read_grounding, screen_size
from ganglion.core.tasks.gui_prompt import prompt
from ganglion.core.tasks.gui_schema import ACTIONS, POINTING, SCHEMA, WORDED
from ganglion.core.tasks.task import Example, RowError

COLUMNS = {
    "Task_id": "task_id",
    "Image_id": "image_path",
    "Instruction": "goal",
    "Output": "output",
    "Grounding": "grounding",
}
GOAL_CHARACTERS = 2000
_KEYS = (*COLUMNS.values(), "short_term_memory", "long_term_memory")
_TEXTS = ("target", "text", "remember")


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    """Turn a step into an Example whose context is its Screen.

    Raises:
        RowError: a key is missing or unknown, or a value is not what the task allows.
    """
    for key in row:
        if key not in _KEYS:
            raise RowError(str(key)[:40], "is unknown", f"use {list(_KEYS)}")
    for key in _KEYS:
        if key not in row:
            raise RowError(key, "is missing", "add it")
    _text(row["task_id"], "task_id", 200)
    goal = _text(row["goal"], "goal", GOAL_CHARACTERS)
    said = read_output(row["output"])
    memory = _memory(row)
    image = find_screen(folder, row["image_path"])
    screen = read_grounding(_object(row["grounding"], "grounding", empty=True), screen_size(image))
    if said["action"] in POINTING and screen.point is None:
        raise RowError("grounding", f"is missing, but {said['action']} acts somewhere", "give a box or a point")
    answer = {**said, "point": screen.answer_point()}
    ordered = write_answer({key: answer[key] for key in SCHEMA["required"]})
    return Example((image,), prompt(goal, memory), ordered, row, context=screen)


def read_output(value: Any) -> dict[str, str]:
    """`{"action", "target"?, "text"?, "remember"?}` with all keys; as JSON text too.

    Raises:
        RowError: it is something else.
    """
    output = _object(value, "output")
    for key in output:
        if key != "action" and key not in _TEXTS:
            raise RowError(f"output.{str(key)[:40]}", "is unknown", f"use {['action', *_TEXTS]}")
    action = output.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise RowError("output.action", f"is {str(action)[:40]!r}", f"use one of {list(ACTIONS)}")
    said = {"action": action}
    for key in _TEXTS:
        value = output.get(key)
        longest = SCHEMA["properties"][key]["maxLength"]
        said[key] = "" if value is None else _text(value, f"output.{key}", longest, least=0)
    if action in WORDED and not said["text"].strip():
        raise RowError("output.text", "is empty", f"say what to {action}")
    return said


def from_table(rows: Iterable[Mapping[str, str]]) -> Iterator[Mapping[str, Any]]:
    """Cells of a table as rows, with the memories that the true steps before each leave.

    A cell that is wrong is handed on as it is: `read_row` says what is wrong with it.

    Raises:
        RowError: the steps of a task do not lie together.
    """
    current: str | None = None
    seen: set[str | None] = set()
    memory = GuiMemory()
    for number, cells in enumerate(rows):
        row: dict[str, Any] = {COLUMNS.get(column, column): cell for column, cell in cells.items()}
        if number == 0 or row.get("task_id") != current:
            current, memory = row.get("task_id"), GuiMemory()
            if current in seen:
                raise RowError("Task_id", f"row {number} goes on with {current!r:.40}, left before", "sort by task")
            seen.add(current)
        for key in ("output", "grounding"):
            if key in row:
                row[key] = _parsed(row[key], empty=key == "grounding")
        yield {**row, **memory.to_json()}
        memory = memory.after(_valid(row.get("output")))


def _valid(output: Any) -> dict[str, str] | None:
    try:
        return read_output(output)
    except RowError:
        return None


def _memory(row: Mapping[str, Any]) -> GuiMemory:
    try:
        return GuiMemory.from_json(row)
    except InputError as error:
        key = "short_term_memory" if error.what.startswith("short") else "long_term_memory"
        raise RowError(key, error.what, str(error.remedy)) from None


def _text(value: Any, column: str, longest: int, least: int = 1) -> str:
    if not isinstance(value, str):
        raise RowError(column, f"is {value!r:.40}", "give a text")
    if len(value) > longest:
        raise RowError(column, f"has {len(value)} characters", f"give at most {longest}")
    if len(value.strip()) < least:
        raise RowError(column, "is empty", "give a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(column, "holds half a character (a lone surrogate)", "correct it") from None
    return value


def _parsed(cell: Any, *, empty: bool) -> Any:
    try:
        return _object(cell, "", empty=empty)
    except RowError:
        return cell


def _object(value: Any, column: str, *, empty: bool = False) -> Any:
    """The object that a cell is or holds as JSON; where `empty`, None for a blank cell."""
    if isinstance(value, str):
        value = _read(value, column) if value.strip() else None
    if value is None and empty:
        return None
    if not isinstance(value, Mapping):
        raise RowError(column, f"is {str(value)[:40]!r}", "give an object")
    return value


def _read(text: str, column: str) -> Any:
    try:
        return strict_json(text)
    except ValueError as error:
        raise RowError(column, f"is not JSON ({' '.join(str(error).split()):.120})", "correct it") from None
