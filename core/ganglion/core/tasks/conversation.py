"""A row of any task may be a conversation: what was asked and what should have been answered, turn by turn.

    {"messages": [{"role": "user", "content": "Well?", "images": ["a.png"]}, {"role": "assistant", "content": ...}]}

Turns alternate, the user's first, an answer last. Images are shown before the text of their turn. Where the task has a
schema, each answer has to satisfy it, and is written as the task writes answers. An `id` may stand beside the messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganglion.core.tasks.answers import read_answer, write_answer
from ganglion.core.tasks.task import Example, RowError, Task, Turn

MESSAGES = "messages"
_ROLES = ("user", "assistant")


def read_example(task: Task, row: Any, folder: Path) -> Example:
    """The example of a row, in the task's own form or a conversation.

    Args:
        task: whose row it is.
        row: as it was read from a file.
        folder: what image paths are relative to.

    Raises:
        RowError: the row can't be used.
    """
    if not isinstance(row, dict):
        raise RowError("", f"row is {row!r:.40}", "give an object")
    if MESSAGES not in row or task.conversations == "own":
        return task.read_row(row, folder)
    if task.conversations == "none":
        raise RowError(MESSAGES, f"is a conversation, but a row of {task.name} needs more", "give the task's own rows")
    return conversation(task, row, folder)


def conversation(task: Task, row: Mapping[str, Any], folder: Path) -> Example:
    """The last turn of a conversation, with the others as its history.

    Raises:
        RowError: turns do not alternate, an answer is missing or not as the task's schema has it, or a value is not
            what it should be.
    """
    for key in row:
        if key not in (MESSAGES, "id"):
            raise RowError(str(key), "is unknown", f"use [{MESSAGES!r}, 'id']")
    messages = row[MESSAGES]
    if not (isinstance(messages, list) and messages):
        raise RowError(MESSAGES, f"is {messages!r:.40}", "give a list of messages")
    if len(messages) % 2:
        raise RowError(MESSAGES, f"has {len(messages)} messages", "end with an answer by the assistant")
    turns = []
    for index in range(0, len(messages), 2):
        asked, answered = f"{MESSAGES}[{index}]", f"{MESSAGES}[{index + 1}]"
        prompt, images = _message(messages[index], "user", asked, folder)
        answer, shown = _message(messages[index + 1], "assistant", answered, folder)
        if shown:
            raise RowError(f"{answered}.images", "belongs to an answer", "models answer in text; leave it out")
        turns.append(Turn(images, prompt, _as_written(task, answer, f"{answered}.content")))
    *history, last = turns
    return Example(last.images, last.prompt, last.answer, row, tuple(history))


def _message(message: Any, role: str, column: str, folder: Path) -> tuple[str, tuple[Path, ...]]:
    if not isinstance(message, Mapping):
        raise RowError(column, f"is {message!r:.40}", "give an object with role and content")
    for key in message:
        if key not in ("role", "content", "images"):
            raise RowError(f"{column}.{key}", "is unknown", "use ['role', 'content', 'images']")
    if message.get("role") != role:
        raise RowError(f"{column}.role", f"is {message.get('role')!r:.40}", f"let {' and '.join(_ROLES)} take turns")
    content, images = message.get("content"), message.get("images", [])
    if not isinstance(content, str):
        raise RowError(f"{column}.content", f"is {content!r:.40}", "give a text")
    if not (isinstance(images, list) and all(isinstance(image, str) and image for image in images)):
        raise RowError(f"{column}.images", f"is {images!r:.40}", "give a list of file paths")
    return content, tuple(folder / image for image in images)


def _as_written(task: Task, answer: str, column: str) -> str:
    if task.schema is None:
        return answer
    found = read_answer(answer, task.schema)
    if found is None:
        raise RowError(column, f"is no answer of {task.name}: {answer!r:.60}", "give JSON by the task's schema")
    return write_answer(found)
