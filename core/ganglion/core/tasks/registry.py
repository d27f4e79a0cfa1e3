"""The tasks the stack knows, by name."""

from __future__ import annotations

from ganglion.core.errors import InputError
from ganglion.core.tasks.task import Task

_TASKS: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Make a task known by its name, and return it.

    Raises:
        InputError: another task bears the name.
    """
    if _TASKS.setdefault(task.name, task) is not task:
        raise InputError(f"task {task.name!r} is registered already", remedy="choose another name")
    return task


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none.
    """
    if name not in _TASKS:
        raise InputError(f"unknown task {name!r}", remedy=f"use one of {task_names()}")
    return _TASKS[name]


def task_names() -> list[str]:
    """Names of all registered tasks, sorted."""
    return sorted(_TASKS)
