"""Conversations as OpenAI's chat API has them: {"messages": [{"role", "content": text or a list of parts}]}.

An image is a part: {"type": "image_url", "image_url": {"url": ...}}, or {"type": "image", "image": ...}; one without a
path takes the next of the row's own `images`. A url is a file path or a data: URI: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ganglion.core.tasks import RowError
from ganglion.training.data.importers.conversations import each, list_or_lines
from ganglion.training.data.importers.dialogue import Said, canonical, images_of, listed
from ganglion.training.data.importers.importer import DATA, Request, Rows
from ganglion.training.data.importers.pictures import Pictures

KEY = "messages"
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TEXT, _IMAGE = ("text", "input_text", "output_text"), ("image", "image_url", "input_image")


def messages(request: Request) -> dict[str, Rows]:
    """All rows of a JSON list or of JSON Lines."""
    return {DATA: each(list_or_lines(request), lambda row: message_row(row, request.pictures))}


def message_row(row: Any, pictures: Pictures) -> dict[str, Any]:
    """One row in the form that any task takes; what it has beside id, messages and images is left out.

    Raises:
        RowError: it can't be used.
    """
    turns = listed(row, KEY)
    own = images_of(row)
    waiting = iter(own)
    said = [_said(turn, f"{KEY}[{index}]", waiting, pictures) for index, turn in enumerate(turns)]
    if left := len(list(waiting)):
        raise RowError("images", f"has {left} that no message shows", 'add {"type": "image"} parts')
    return canonical(row, said)


def _said(turn: Mapping[str, Any], column: str, waiting: Iterator[Any], pictures: Pictures) -> Said:
    role, content = _ROLES.get(str(turn.get("role"))), turn.get("content")
    if role is None:
        raise RowError(f"{column}.role", f"is {turn.get('role')!r:.40}", f"use one of {', '.join(_ROLES)}")
    column += ".content"
    if isinstance(content, str):
        return Said(role, content, _paths(turn.get("images"), column, pictures), column)
    if not isinstance(content, list):
        raise RowError(column, f"is {content!r:.40}", "give a text or a list of parts")
    texts, images = [], []
    for index, part in enumerate(content):
        place = f"{column}[{index}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXT and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _IMAGE:
            images.append(pictures.path_of(_url(part, place, waiting), place))
        else:
            raise RowError(place, f"is {part!r:.40}", 'give {"type": "text", "text": ...} or an image')
    if images and role != "user":
        raise RowError(column, f"shows an image by the {role}", "images belong to the user's turns")
    return Said(role, "\n".join(texts), images, column)


def _paths(images: Any, column: str, pictures: Pictures) -> list[str]:
    """What stands beside a text, as the rows of any task have it."""
    if images is None:
        return []
    if not isinstance(images, list):
        raise RowError(column, f"stands beside images {images!r:.40}", "give a list of file paths")
    return [pictures.path_of(image, column) for image in images]


def _url(part: Mapping[str, Any], column: str, waiting: Iterator[Any]) -> Any:
    given = part.get("image_url") or part.get("image")
    if given is None:
        given = next(waiting, None)
        if given is None:
            raise RowError(column, "shows an image that the row does not have", "give its path")
    return given.get("url") if isinstance(given, Mapping) else given
