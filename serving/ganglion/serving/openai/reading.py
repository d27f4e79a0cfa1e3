"""The body of a request -> what is asked, or the field that is wrong.

Decoding is greedy. A field that asks for anything else is refused instead of passed over; one that changes nothing
about the answer (`user`, `seed`, ...) is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganglion.serving.openai.errors import ApiError
from ganglion.serving.openai.settings import ServerSettings
from ganglion.serving.vlm_request.fields import (
    CHANGES_NOTHING,
    GREEDY,
    SHOWN,
    check_length,
    check_only,
    check_stops,
    read_json,
)
from ganglion.serving.vlm_request.messages import read_dialogue
from ganglion.serving.vlm_request.request import VlmRequest
from ganglion.serving.vlm_request.schema_bounds import check_schema
from ganglion.serving.vlm_request.wrong import WrongField

_READ = {
    "model",
    "messages",
    "response_format",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "stop",
}
_CHANGES_NOTHING = CHANGES_NOTHING | {
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
}
# Fields that are accepted with these values only: what a greedy answer in text is.
_ONLY: Mapping[str, Sequence[Any]] = {
    **GREEDY,
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "store": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
}
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class ChatRequest:
    """What is asked, and whether a stream ends with a piece that counts tokens."""

    request: VlmRequest
    include_usage: bool


def read_request(body: bytes, model: str, settings: ServerSettings) -> ChatRequest:
    """Read and check all of it; images stay encoded.

    Args:
        body: JSON in UTF-8.
        model: the one that is served.
        settings: bounds.

    Raises:
        WrongField: a field is wrong, or asks for what is not served.
        ApiError: another model is asked for.
    """
    fields = {name: value for name, value in _json(body).items() if value is not None}
    for name, value in fields.items():
        if name in _ONLY:
            check_only(name, value, _ONLY[name])
        if name not in _READ | _CHANGES_NOTHING | _ONLY.keys():
            raise WrongField("is not served", name[:SHOWN], "unsupported_parameter")
    named = _of(fields, "model", str)
    if named is None:
        raise WrongField("is missing", "model")
    if named != model:
        raise ApiError(
            404, f"the model {named[:SHOWN]!r} is not served, {model!r} is", param="model", code="model_not_found"
        )
    options = _of(fields, "stream_options", dict) or {}
    if options and not fields.get("stream"):
        raise WrongField("comes without stream", "stream_options")
    request = VlmRequest(
        dialogue=read_dialogue(fields.get("messages"), settings),
        schema=_schema(_of(fields, "response_format", dict)),
        stops=_stops(fields.get("stop")),
        max_new_tokens=_length(fields, settings),
        stream=bool(_of(fields, "stream", bool)),
    )
    return ChatRequest(request, bool(options.get("include_usage")))


def _json(body: bytes) -> dict[str, Any]:
    read = read_json(body)
    if not isinstance(read, dict):
        raise WrongField("the body is no JSON object")
    return read


def _of(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise WrongField(f"is no {kind.__name__}", name)
    return value


def _length(fields: Mapping[str, Any], settings: ServerSettings) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        length = _of(fields, name, int)
        if length is not None:
            return check_length(name, length)
    return settings.max_new_tokens


def _schema(form: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    kind = "text" if form is None else form.get("type")
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind != "json_schema":
        raise WrongField("is none of text, json_object, json_schema", "response_format.type")
    schema = (_of(form, "json_schema", dict) or {}).get("schema")
    if not isinstance(schema, dict):
        raise WrongField("is missing, or no object", "response_format.json_schema.schema")
    check_schema(schema, "response_format.json_schema.schema")
    return schema


def _stops(value: Any) -> tuple[str, ...]:
    return check_stops([value] if isinstance(value, str) else value or [])
