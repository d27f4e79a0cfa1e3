"""CALVIN's language annotations as robot_code data: what people say to a table-top arm, as calls of a declared API.

The source is calvin_models/conf/annotations: new_playtable.yaml (task id: sentences), and new_playtable_validation.yaml
if it is there. Every fifth sentence of a task is held out; the validation sentences, one per task, become a third file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ganglion.core.errors import InputError
from ganglion.core.tasks import RowError
from ganglion.core.tasks.robot_code import API_FILE
from ganglion.training.data.importers.importer import Request

_FILE, _VALIDATION = "new_playtable.yaml", "new_playtable_validation.yaml"
_HELD_OUT = 5  # one in so many sentences of a task
_COLORS = ["red", "blue", "pink"]
_SIDES = ["left", "right"]
# Task id -> call; what a group caught goes into the call.
_CALLS = (
    (r"rotate_(\w+)_block_(\w+)", 'rotate_block(color="{}", direction="{}")', "manipulation"),
    (r"push_(\w+)_block_(\w+)", 'push_block(color="{}", direction="{}")', "manipulation"),
    (r"lift_(\w+)_block_(\w+)", 'lift_block(color="{}", place="{}")', "manipulation"),
    (r"place_in_(\w+)", 'place_block(place="{}")', "manipulation"),
    (r"push_into_drawer", "push_into_drawer()", "manipulation"),
    (r"(stack|unstack)_block", "{}_blocks()", "manipulation"),
    (r"move_slider_(\w+)", 'move_slider(direction="{}")', "furniture"),
    (r"(open|close)_drawer", "{}_drawer()", "furniture"),
    (r"turn_(on|off)_(lightbulb|led)", 'switch(light="{1}", state="{0}")', "furniture"),
)


def _choice(name: str, choices: list[str]) -> dict[str, Any]:
    return {"name": name, "kind": "str", "choices": choices}


_API: Mapping[str, Any] = {
    "name": "table-top arm",
    "functions": [
        {"name": "rotate_block", "arguments": [_choice("color", _COLORS), _choice("direction", _SIDES)]},
        {"name": "push_block", "arguments": [_choice("color", _COLORS), _choice("direction", _SIDES)]},
        {
            "name": "lift_block",
            "arguments": [_choice("color", _COLORS), _choice("place", ["table", "slider", "drawer"])],
        },
        {"name": "place_block", "arguments": [_choice("place", ["slider", "drawer"])]},
        {"name": "push_into_drawer"},
        {"name": "stack_blocks"},
        {"name": "unstack_blocks"},
        {"name": "move_slider", "arguments": [_choice("direction", _SIDES)]},
        {"name": "open_drawer"},
        {"name": "close_drawer"},
        {"name": "switch", "arguments": [_choice("light", ["lightbulb", "led"]), _choice("state", ["on", "off"])]},
    ],
}


CALVIN_FILES = {API_FILE: yaml.safe_dump(dict(_API), sort_keys=False)}


def calvin_parts(request: Request) -> dict[str, Iterator[dict[str, str] | RowError]]:
    """Rows of train, heldout and, where there is a source of it, validation; a RowError for each of an unknown task.

    Raises:
        InputError: a file is missing, or holds something else than sentences by task.
    """
    tasks = _read(request.source / _FILE)
    parts = {"train": _rows(tasks, _FILE, held_out=False), "heldout": _rows(tasks, _FILE, held_out=True)}
    if (request.source / _VALIDATION).exists():
        parts["validation"] = _rows(_read(request.source / _VALIDATION), _VALIDATION, held_out=None)
    return parts


def _rows(tasks: Mapping[str, list[str]], file: str, held_out: bool | None) -> Iterator[dict[str, str] | RowError]:
    """The sentences that are held out, those that are not, or (None) all."""
    for task, said in tasks.items():
        for index, sentence in enumerate(said):
            if held_out is None or held_out == (index % _HELD_OUT == _HELD_OUT - 1):
                yield _row(task, sentence, file)


def _row(task: str, sentence: str, file: str) -> dict[str, str] | RowError:
    for pattern, call, category in _CALLS:
        if found := re.fullmatch(pattern, task):
            return {"input": sentence, "output": call.format(*found.groups()), "category": category}
    return RowError("", f"{file}: unknown task {task!r:.60}", "take CALVIN's own annotations")


def _read(path: Path) -> dict[str, list[str]]:
    try:
        tasks = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="give CALVIN's folder conf/annotations") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't be read ({reason:.120})", where=path, remedy="take it again") from None
    if not isinstance(tasks, dict) or not tasks:
        raise InputError("holds no tasks", where=path, remedy="take CALVIN's own annotations")
    for task, said in tasks.items():
        if not (isinstance(task, str) and isinstance(said, list) and all(isinstance(one, str) for one in said)):
            raise InputError(f"task {task!r} is no list of sentences", where=path, remedy="take it again")
    return tasks
