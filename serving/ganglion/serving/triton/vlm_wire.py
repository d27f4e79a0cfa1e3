"""The tensors of the model `vlm`: what a request and a reply are made of, in Triton's types.

A question is `text_input` after the images of `image`, or the whole dialogue as `messages`. All of it is checked where
OpenAI's requests are checked too (ganglion.serving.vlm_request).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.tasks import get_task
from ganglion.serving.vlm_request.bounds import RequestBounds
from ganglion.serving.vlm_request.fields import (
    GREEDY,
    SHOWN,
    check_length,
    check_only,
    check_stops,
    read_json,
    read_text,
)
from ganglion.serving.vlm_request.messages import Dialogue, Exchange, read_dialogue
from ganglion.serving.vlm_request.pictures import read_picture_bytes
from ganglion.serving.vlm_request.request import VlmRequest
from ganglion.serving.vlm_request.schema_bounds import check_schema
from ganglion.serving.vlm_request.wrong import WrongField

Tensors = Mapping[str, npt.NDArray[Any]]
# Name -> type and dimensions; all inputs may be absent. `seed` and `top_p` change nothing about a greedy answer.
INPUTS: Mapping[str, tuple[str, list[int]]] = {
    "text_input": ("STRING", [1]),
    "image": ("STRING", [-1]),
    "messages": ("STRING", [1]),
    "schema": ("STRING", [1]),
    "max_tokens": ("INT64", [1]),
    "stop": ("STRING", [-1]),
    "stream": ("BOOL", [1]),
    "temperature": ("FP32", [1]),
    "top_p": ("FP32", [1]),
    "seed": ("INT64", [1]),
}
# A piece of a stream has `text_output` alone, the last one all of them.
OUTPUTS: Mapping[str, tuple[str, list[int]]] = {
    "text_output": ("STRING", [1]),
    "finish_reason": ("STRING", [1]),
    "prompt_tokens": ("INT32", [1]),
    "completion_tokens": ("INT32", [1]),
}
_OF_THE_TASK = "task"  # the word that stands for the schema of the bundle's task
# Parameters that are Triton's own: by name, and by how names begin.
_ID, _TRITONS = "id", "triton_"


def read_request(
    tensors: Tensors, parameters: Mapping[str, Any], task: str | None, bounds: RequestBounds
) -> VlmRequest:
    """A request from its tensors, which may come from anybody.

    Args:
        tensors: inputs by name, of the types and shapes that `INPUTS` says; texts are objects of bytes.
        parameters: what Triton took for no input: fields of unknown names.
        task: the bundle's; None for none.
        bounds: of a request.

    Raises:
        WrongField: a field is wrong, or asks for what is not served.
    """
    for name in parameters:
        if name != _ID and not name.startswith(_TRITONS):
            raise WrongField("is not served", name[:SHOWN], "unsupported_parameter")
    size = sum(len(value) for tensor in tensors.values() if tensor.dtype == object for value in tensor.ravel())
    if size > bounds.body_bytes:
        raise WrongField(f"the request has more than {bounds.body_bytes} bytes")
    for name, served in GREEDY.items():
        if name in tensors:
            check_only(name, tensors[name].ravel()[0].item(), served)
    length = _one(tensors, "max_tokens")
    return VlmRequest(
        dialogue=_dialogue(tensors, bounds),
        schema=_schema(tensors, task),
        stops=check_stops([read_text(value, "stop") for value in _all(tensors, "stop")]),
        max_new_tokens=bounds.max_new_tokens if length is None else check_length("max_tokens", int(length)),
        stream=bool(_one(tensors, "stream")),
    )


def text_outputs(text: str) -> dict[str, npt.NDArray[Any]]:
    """A piece of an answer as tensors."""
    return {"text_output": _text(text)}


def last_outputs(text: str, finish_reason: str, prompt_tokens: int, answer_tokens: int) -> dict[str, npt.NDArray[Any]]:
    """A whole answer, or the last piece of one, as tensors."""
    return {
        "text_output": _text(text),
        "finish_reason": _text(finish_reason),
        "prompt_tokens": np.array([prompt_tokens], np.int32),
        "completion_tokens": np.array([answer_tokens], np.int32),
    }


def _dialogue(tensors: Tensors, bounds: RequestBounds) -> Dialogue:
    text, messages = _one(tensors, "text_input"), _one(tensors, "messages")
    sent = _all(tensors, "image")
    if (text is None) == (messages is None):
        raise WrongField("give either text_input or messages")
    if messages is not None:
        if sent:
            raise WrongField("comes with messages, which hold images themselves", "image")
        return read_dialogue(read_json(bytes(messages), "messages"), bounds)
    if len(sent) > bounds.images:
        raise WrongField(f"{len(sent)} images, more than {bounds.images}", "image")
    images = (read_picture_bytes(one, f"image[{index}]", bounds.image_pixels) for index, one in enumerate(sent))
    return Dialogue("", (), Exchange(tuple(images), read_text(bytes(text), "text_input")))


def _schema(tensors: Tensors, task: str | None) -> Mapping[str, Any] | None:
    sent = _one(tensors, "schema")
    if sent is None:
        return None
    if sent == _OF_THE_TASK.encode():
        return _schema_of(task)
    schema = read_json(bytes(sent), "schema")
    if not isinstance(schema, dict):
        raise WrongField("is no object", "schema")
    check_schema(schema, "schema")
    return schema


def _schema_of(task: str | None) -> Mapping[str, Any]:
    try:
        found = None if task is None else get_task(task).schema
    except InputError:
        found = None
    if found is None:
        raise WrongField("is 'task', but the bundle is of no task with a schema: give the schema itself", "schema")
    return found


def _one(tensors: Tensors, name: str) -> Any:
    values = _all(tensors, name)
    return values[0] if values else None


def _all(tensors: Tensors, name: str) -> list[Any]:
    return [*tensors[name].ravel()] if name in tensors else []


def _text(text: str) -> npt.NDArray[Any]:
    found = np.empty(1, object)
    found[0] = text.encode("utf-8")
    return found
