"""Turns of a conversation by others to the messages that a row of any task may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganglion.core.tasks import RowError


@dataclass(frozen=True)
class Said:
    """One message: role (user, assistant, system), text, image paths, and the column that it stands in."""

    role: str
    text: str
    images: list[str] = field(default_factory=list)
    column: str = ""


def canonical(row: Mapping[str, Any], said: Iterable[Said]) -> dict[str, Any]:
    """The row, its id kept if it has one. What the system said stands before what the user says next, a line between.

    Raises:
        RowError: nobody speaks after the system.
    """
    messages: list[dict[str, Any]] = []
    waiting: list[Said] = []
    for one in said:
        if one.role == "system":
            waiting.append(one)
            continue
        text = "\n\n".join([*(before.text for before in waiting), one.text])
        if waiting and one.role != "user":
            raise RowError(one.column, f"is by the {one.role}, right after the system", "let the user speak first")
        waiting = []
        images = {"images": one.images} if one.images else {}
        messages.append({"role": one.role, "content": text, **images})
    if waiting:
        raise RowError(waiting[0].column, "is by the system, and nobody answers", "add the turns that follow")
    return {**({"id": row["id"]} if "id" in row else {}), "messages": messages}


def listed(row: Any, key: str) -> list[Mapping[str, Any]]:
    """The turns of a row, each an object.

    Raises:
        RowError: there are none, or of another kind.
    """
    if not isinstance(row, Mapping):
        raise RowError("", f"row is {row!r:.40}", "give an object")
    if key not in row:
        raise RowError(key, "is missing", "add it")
    turns = row[key]
    if not (isinstance(turns, list) and turns):
        raise RowError(key, f"is {turns!r:.40}", "give a list of turns")
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise RowError(f"{key}[{index}]", f"is {turn!r:.40}", "give an object")
    return turns


def images_of(row: Mapping[str, Any]) -> list[Any]:
    """What a row has under `image` or `images`, as a list.

    Raises:
        RowError: it has both.
    """
    if row.get("image") is not None and row.get("images") is not None:
        raise RowError("images", "stands beside 'image'", "leave one out")
    found = row.get("image") if row.get("images") is None else row.get("images")
    return [] if found is None else list(found) if isinstance(found, list) else [found]
