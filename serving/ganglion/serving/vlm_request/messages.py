"""The messages of a request -> the dialogue that the engine answers.

A system message first, if any; then user and assistant in turns, the last one a user's. Images of a turn stand before
its text, as in training, wherever they stand among its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganglion.serving.vlm_request.bounds import RequestBounds
from ganglion.serving.vlm_request.pictures import read_picture
from ganglion.serving.vlm_request.wrong import WrongField


@dataclass(frozen=True)
class Exchange:
    """A user's turn, and the assistant's answer to it; empty for the one that is to come."""

    images: tuple[bytes, ...]
    prompt: str
    answer: str = ""


@dataclass(frozen=True)
class Dialogue:
    """What was said: the system's text, the exchanges so far, and the turn to answer."""

    system: str
    history: tuple[Exchange, ...]
    turn: Exchange

    @property
    def images(self) -> int:
        """How many, in all turns."""
        return sum(len(one.images) for one in (*self.history, self.turn))


def read_dialogue(messages: Any, bounds: RequestBounds) -> Dialogue:
    """Check the messages and decode their URLs; images stay encoded.

    Raises:
        WrongField: naming the message and part that is wrong.
    """
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise WrongField("is no list of messages", "messages")
    system = ""
    first = 0
    if messages[0].get("role") in ("system", "developer"):
        system, first = _text(messages[0], "messages[0]"), 1
    history: list[Exchange] = []
    turn: Exchange | None = None
    for index, message in enumerate(messages[first:], first):
        where, role = f"messages[{index}]", message.get("role")
        if role == "user" and turn is None:
            turn = _turn(message, where, bounds)
        elif role == "assistant" and turn is not None:
            if message.get("tool_calls") or message.get("function_call"):
                raise WrongField("calls tools, which are not served", where)
            history.append(Exchange(turn.images, turn.prompt, _text(message, where)))
            turn = None
        else:
            raise WrongField(f"{role!r:.60} is not expected here: user and assistant take turns", f"{where}.role")
    if turn is None:
        raise WrongField("the last message is not a user's", "messages")
    dialogue = Dialogue(system, tuple(history), turn)
    if dialogue.images > bounds.images:
        raise WrongField(f"{dialogue.images} images, more than {bounds.images}", "messages")
    return dialogue


def _turn(message: Mapping[str, Any], where: str, bounds: RequestBounds) -> Exchange:
    images = []
    for index, part in enumerate(_parts(message, where)):
        if part.get("type") == "image_url":
            place, image = f"{where}.content[{index}].image_url", part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else None
            if not isinstance(url, str):
                raise WrongField("has no url", place)
            images.append(read_picture(url, f"{place}.url", bounds.image_pixels))
    return Exchange(tuple(images), _text(message, where, other="image_url"))


def _text(message: Mapping[str, Any], where: str, other: str = "") -> str:
    """All text of a message; its parts may be of one other type."""
    said = []
    for index, part in enumerate(_parts(message, where)):
        place = f"{where}.content[{index}]"
        if part.get("type") == "text":
            if not isinstance(part.get("text"), str):
                raise WrongField("has no text", place)
            said.append(part["text"])
        elif not other or part.get("type") != other:
            raise WrongField(f"a part of type {part.get('type')!r:.60} is not served here", f"{place}.type")
    return "".join(said)


def _parts(message: Mapping[str, Any], where: str) -> Sequence[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content or not all(isinstance(part, dict) for part in content):
        raise WrongField("is no text and no list of parts", f"{where}.content")
    return content
