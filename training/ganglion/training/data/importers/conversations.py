"""Conversations as LLaVA and ShareGPT have them: {"id", "image", "conversations": [{"from": "human", "value": ...}]}.

`<image>` in a user's text says which turn an image belongs to; without any, all belong to the first turn. The mark is
taken out, since images are shown before the text of their turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganglion.core.rows import json_lines, json_list
from ganglion.core.tasks import RowError
from ganglion.training.data.importers.dialogue import Said, canonical, images_of, listed
from ganglion.training.data.importers.importer import DATA, Request, Rows
from ganglion.training.data.importers.pictures import Pictures

KEY = "conversations"
_MARK = "<image>"
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def conversations(request: Request) -> dict[str, Rows]:
    """All rows of a JSON list or of JSON Lines; of a task whose own rows are conversations, as they are."""
    rows = list_or_lines(request)
    if request.task.conversations == "own":
        return {DATA: rows}
    return {DATA: each(rows, lambda row: conversation_row(row, request.pictures))}


def list_or_lines(request: Request) -> Rows:
    """The rows of a JSON file, by its ending."""
    lines = request.source.suffix in (".jsonl", ".ndjson")
    return json_lines(request.source) if lines else json_list(request.source)


def each(rows: Rows, made: Any) -> Iterator[Any]:
    """What `made` makes of each row; a RowError stays one."""
    for row in rows:
        try:
            yield row if isinstance(row, RowError) else made(row)
        except RowError as error:
            yield error


def conversation_row(row: Any, pictures: Pictures) -> dict[str, Any]:
    """One row in the form that any task takes; what it has beside id, image and conversations is left out.

    Raises:
        RowError: it can't be used.
    """
    turns = listed(row, KEY)
    images = [pictures.path_of(value, "image") for value in images_of(row)]
    said = [_said(turn, f"{KEY}[{index}]") for index, turn in enumerate(turns)]
    if isinstance(row.get("system"), str) and row["system"]:
        said.insert(0, Said("system", row["system"], column="system"))
    return canonical(row, _with_images(said, images))


def _said(turn: Any, column: str) -> Said:
    role, text = _ROLES.get(str(turn.get("from"))), turn.get("value")
    if role is None:
        raise RowError(f"{column}.from", f"is {turn.get('from')!r:.40}", f"use one of {', '.join(_ROLES)}")
    if not isinstance(text, str):
        raise RowError(f"{column}.value", f"is {text!r:.40}", "give a text")
    if role != "user" and _MARK in text:
        raise RowError(f"{column}.value", f"holds {_MARK}, but is not by the user", "take it out")
    return Said(role, text, column=column)


def _with_images(said: list[Said], images: list[str]) -> list[Said]:
    marks = sum(one.text.count(_MARK) for one in said)
    if marks not in (0, len(images)):
        raise RowError(KEY, f"has {marks} {_MARK}, but the row {len(images)} images", "make them agree")
    left, placed = list(images), []
    for one in said:
        count = one.text.count(_MARK) if marks else len(left) if one.role == "user" else 0
        mine, left = left[:count], left[count:]
        text = one.text.replace(f"{_MARK}\n", "").replace(f"\n{_MARK}", "").replace(_MARK, "")
        placed.append(Said(one.role, text, mine, one.column))
    return placed
