"""A task's question as OpenAI's chat completions have it: what clients send, and servers show as an example."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import ExifTags, Image

from ganglion.core.images import ImageLike, encode_jpeg, open_image
from ganglion.core.tasks import Task
from ganglion.core.tasks.answers import WRITING

_JPEG = b"\xff\xd8\xff"


class EarlierTurn(Protocol):
    """An exchange that came before: a `core.tasks.Turn`, an `Exchange` of `ExoDialogue`, or anything like them."""

    @property
    def images(self) -> Sequence[ImageLike]:
        """Shown before the text, in order."""

    @property
    def prompt(self) -> str:
        """The user's turn, without placeholders."""

    @property
    def answer(self) -> str:
        """What was answered, as it was written."""


def chat_request(
    task: Task,
    prompt: str,
    images: Sequence[ImageLike] = (),
    history: Sequence[EarlierTurn] = (),
    *,
    model: str | None = None,
    stream: bool = False,
) -> dict[str, Any]:
    """The body of a POST to /v1/chat/completions that asks for the likeliest answer which the task allows.

    Args:
        task: gives the schema and the length of answers.
        prompt: the user's turn, without image placeholders.
        images: shown before it; sent as JPEG.
        history: the exchanges before it, first one first.
        model: its name at the server; default is the task's.
        stream: whether the answer is to come piece by piece.

    Raises:
        InputError: an image can't be decoded.
    """
    messages: list[dict[str, Any]] = []
    for turn in history:
        messages += [_user(turn.prompt, turn.images), {"role": "assistant", "content": turn.answer}]
    body: dict[str, Any] = {
        "model": model or task.name,
        "messages": [*messages, _user(prompt, images)],
        "temperature": 0,
        "max_completion_tokens": task.max_new_tokens,
        "stream": stream,
    }
    if task.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema_format(task.name, task.schema)}
    return body


def json_schema_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as response_format takes it. Servers that decode by llguidance write answers as the model learned to."""
    return {"name": name, "strict": True, "schema": {**schema, "x-guidance": dict(WRITING)}}


def data_url(image: ImageLike) -> str:
    """An image as a JPEG in a URL; one that is a JPEG already, and upright, stays as it is, bit by bit.

    Raises:
        InputError: it can't be decoded.
    """
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode("ascii")


def _jpeg(image: ImageLike) -> bytes:
    opened = open_image(image)
    stored = image.read_bytes() if isinstance(image, Path) else image
    if isinstance(stored, bytes) and stored.startswith(_JPEG):
        with Image.open(io.BytesIO(stored)) as header:
            if header.mode == "RGB" and header.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return stored
    return encode_jpeg(np.asarray(opened))


def _user(text: str, images: Sequence[ImageLike]) -> dict[str, Any]:
    if not images:
        return {"role": "user", "content": text}
    shown = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}
