"""ScreenAgent's labeled desktop sessions as steps of gui_step.

The source is a folder of sessions, or one session: TIME_translate.json, a screenshot each, in images/. A row is made of
each action, in the order of time, all those of a screenshot with it; the lines of a plan are one. Words are the
English ones. What has no place in gui_step: files TIME_translate_neg_*.json, which ask something else of a screenshot
that has a step already, the number of a scroll's repetitions, and lines of a plan beyond 200 characters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.gui_memory import FACT_CHARACTERS, TEXT_CHARACTERS, GuiMemory, one_line
from ganglion.core.tasks import RowError
from ganglion.core.tasks.gui_rows import read_output, read_row

_STEP = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d+_translate\.json")
_BLOCK = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_REMEDY = "take ScreenAgent's own sessions"
_PLAN, _EVALUATE = "PlanAction", "EvaluateSubTaskAction"
# (what the mouse does, button) -> action
_MOUSE = {
    ("click", "left"): "click",
    ("click", "right"): "right_click",
    ("double_click", "left"): "double_click",
    ("drag", "left"): "drag",
    ("down", "left"): "mouse_down",
    ("up", "left"): "mouse_up",
}
_SCROLL = {"scroll_up": "up", "scroll_down": "down"}


def screenagent_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of all sessions; image paths are absolute.

    Raises:
        InputError: there are no sessions, or one holds something else.
    """
    for session in _sessions(source):
        goal, memory = None, GuiMemory()
        for path in sorted(path for path in session.glob("*_translate.json")):
            step = _Step(path)
            if goal not in (None, step.goal):
                raise InputError(
                    f"has the task {step.goal[:60]!r}, the step before {goal!r:.60}", where=path, remedy=_REMEDY
                )
            goal = step.goal
            for output, grounding in step.actions():
                row = {
                    "task_id": session.name,
                    "image_path": str(step.image),
                    "goal": goal,
                    "output": output,
                    "grounding": grounding,
                    **memory.to_json(),
                }
                try:
                    read_row(row, session)
                except RowError as error:
                    raise InputError(str(error).replace("; ", ", "), where=path, remedy=_REMEDY) from None
                yield row
                memory = memory.after(read_output(output))


def _sessions(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError("no such folder", where=source, remedy="give a folder of ScreenAgent sessions")
    sessions = [folder for folder in (source.resolve(), *sorted(source.resolve().iterdir())) if _is_session(folder)]
    if not sessions:
        raise InputError("holds no sessions (TIME_translate.json)", where=source, remedy=_REMEDY)
    return sessions


def _is_session(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*_translate.json"))


class _Step:
    """One file: a screenshot and what was done on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not _STEP.fullmatch(path.name):
            raise self._wrong("is not named by its time")
        try:
            data = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise self._wrong(f"can't be read ({reason:.120})") from None
        if not isinstance(data, dict):
            raise self._wrong(f"holds {type(data).__name__}, not an object")
        self._data: Mapping[str, Any] = data
        self.goal = self._text(data, "task_prompt_en")
        name = self._text(data, "saved_image_name")
        if Path(name).name != name:
            raise self._wrong(f"saved_image_name is {name[:60]!r}, not a file name")
        self.image = path.parent / "images" / name
        actions = data.get("actions")
        if not isinstance(actions, list) or not actions:
            raise self._wrong(f"actions is {str(actions)[:40]!r}, not a list of them")
        if not all(isinstance(action, dict) for action in actions):
            raise self._wrong("actions holds what is no object")
        self._actions: list[Mapping[str, Any]] = actions

    def actions(self) -> Iterator[tuple[dict[str, str], dict[str, Any] | None]]:
        """Output and grounding of each action."""
        plan: list[str] = []
        for index, action in enumerate(self._actions):
            if action.get("action_type") == _PLAN:
                plan.append(one_line(self._english(index, "element")))
                continue
            if plan:
                yield self._plan(plan), None
                plan = []
            yield self._action(index, action)
        if plan:
            yield self._plan(plan), None

    def _plan(self, lines: list[str]) -> dict[str, str]:
        while len("\n".join(lines)) > TEXT_CHARACTERS and len(lines) > 1:
            lines = lines[:-1]
        return {"action": "plan", "text": "\n".join(lines)}

    def _action(self, index: int, action: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any] | None]:
        kind = action.get("action_type")
        if kind == "MouseAction":
            return self._mouse(action)
        if kind == "KeyboardAction":
            return self._keyboard(action), None
        if kind == "WaitAction":
            return {"action": "wait", "text": f"{self._number(action, 'wait_time'):g}"}, None
        if kind == _EVALUATE:
            output = {"action": "evaluate", "text": self._text(action, "situation")}
            if action.get("advice"):
                output["remember"] = one_line(self._english(index, "advice"), FACT_CHARACTERS)
            return output, None
        raise self._wrong(f"action_type is {kind!r:.40}")

    def _mouse(self, action: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any] | None]:
        kind, button = action.get("mouse_action_type"), action.get("mouse_button", "left")
        if isinstance(kind, str) and kind in _SCROLL:
            return {"action": "scroll", "text": _SCROLL[kind]}, None
        name = "move" if kind == "move" else _MOUSE.get((str(kind), str(button)))
        if name is None:
            raise self._wrong(f"a {kind!r:.40} of the mouse's button {button!r:.40} is no step of gui_step")
        position = action.get("mouse_position")
        if not isinstance(position, dict):
            raise self._wrong(f"mouse_position is {position!r:.40}")
        return {"action": name}, {"point": [self._number(position, "width"), self._number(position, "height")]}

    def _keyboard(self, action: Mapping[str, Any]) -> dict[str, str]:
        kind = action.get("keyboard_action_type")
        if kind == "text":
            return {"action": "type", "text": self._text(action, "keyboard_text")}
        if kind == "press":
            return {"action": "press", "text": self._text(action, "keyboard_key")}
        raise self._wrong(f"a {kind!r:.40} of the keyboard is no step of gui_step")

    def _english(self, index: int, key: str) -> str:
        """A text of an action; only the response that the actions were read from has it in English."""
        response = self._text(self._data, "LLM_response_editer_en")
        said: list[Any] = []
        for block in _BLOCK.findall(response):
            try:
                found = json.loads(block)
            except (ValueError, RecursionError):
                raise self._wrong("LLM_response_editer_en holds actions that are not JSON") from None
            said += found if isinstance(found, list) else [found]
        if len(said) != len(self._actions) or not all(isinstance(action, dict) for action in said):
            raise self._wrong(f"LLM_response_editer_en has {len(said)} actions, and actions {len(self._actions)}")
        if said[index].get("action_type") != self._actions[index].get("action_type"):
            raise self._wrong("LLM_response_editer_en has other actions than actions")
        return self._text(said[index], key)

    def _text(self, holder: Mapping[str, Any], key: str) -> str:
        value = holder.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(f"{key} is {str(value)[:40]!r}, not a text")
        return value

    def _number(self, holder: Mapping[str, Any], key: str) -> float:
        value = holder.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self._wrong(f"{key} is {str(value)[:40]!r}, not a number from 0")
        return value

    def _wrong(self, what: str) -> InputError:
        return InputError(what, where=self._path, remedy=_REMEDY)
