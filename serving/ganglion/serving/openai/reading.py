"""The body of a request -> what is asked, or the field that is wrong.

Decoding is greedy. A field that asks for anything else is refused instead of passed over; one that changes nothing
about the answer (`user`, `seed`, ...) is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ganglion.serving.openai.errors import ApiError, invalid
from ganglion.serving.openai.messages import Dialogue, read_dialogue
from ganglion.serving.openai.schema_bounds import check_schema
from ganglion.serving.openai.settings import ServerSettings

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
_CHANGES_NOTHING = {
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "top_p",
    "user",
}
# Fields that are accepted with these values only: what a greedy answer in text is.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "temperature": (0,),
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
_STOPS, _STOP_LENGTH = 4, 256
_SHOWN = 60  # characters of what a client wrote that an error repeats
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class ChatRequest:
    """What is asked.

    dialogue        the messages
    schema          of the answer; None for free text
    stops           texts that end it
    max_new_tokens  of it
    stream          piece by piece
    include_usage   with a last piece that counts tokens
    """

    dialogue: Dialogue
    schema: Mapping[str, Any] | None
    stops: tuple[str, ...]
    max_new_tokens: int
    stream: bool
    include_usage: bool


def read_request(body: bytes, model: str, settings: ServerSettings) -> ChatRequest:
    """Read and check all of it; images stay encoded.

    Args:
        body: JSON in UTF-8.
        model: the one that is served.
        settings: bounds.

    Raises:
        ApiError: a field is wrong, or asks for what is not served.
    """
    fields = {name: value for name, value in _json(body).items() if value is not None}
    for name, value in fields.items():
        if name in _ONLY and not any(_same(value, one) for one in _ONLY[name]):
            served = json.dumps(_ONLY[name][0])
            raise invalid(f"is not served with this value: decoding is greedy, leave it out or give {served}", name)
        if name not in _READ | _CHANGES_NOTHING | _ONLY.keys():
            raise invalid("is not served", name[:_SHOWN], "unsupported_parameter")
    asked = _of(fields, "model", str)
    if asked is None:
        raise invalid("is missing", "model")
    if asked != model:
        raise ApiError(
            404, f"the model {asked[:_SHOWN]!r} is not served, {model!r} is", param="model", code="model_not_found"
        )
    options = _of(fields, "stream_options", dict) or {}
    if options and not fields.get("stream"):
        raise invalid("comes without stream", "stream_options")
    return ChatRequest(
        dialogue=read_dialogue(fields.get("messages"), settings),
        schema=_schema(_of(fields, "response_format", dict)),
        stops=_stops(fields.get("stop")),
        max_new_tokens=_length(fields, settings),
        stream=bool(_of(fields, "stream", bool)),
        include_usage=bool(options.get("include_usage")),
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
        read = json.loads(text, parse_constant=_no_number)
        json.dumps(read, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except UnicodeError:
        raise invalid("the body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise invalid("the body is no JSON, or nested too deep") from None
    if not isinstance(read, dict):
        raise invalid("the body is no JSON object")
    return read


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _of(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise invalid(f"is no {kind.__name__}", name)
    return value


def _length(fields: Mapping[str, Any], settings: ServerSettings) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        length = _of(fields, name, int)
        if length is not None:
            if length < 1:
                raise invalid("is less than 1", name)
            return int(length)
    return settings.max_new_tokens


def _schema(form: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    kind = "text" if form is None else form.get("type")
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind != "json_schema":
        raise invalid("is none of text, json_object, json_schema", "response_format.type")
    schema = (_of(form, "json_schema", dict) or {}).get("schema")
    if not isinstance(schema, dict):
        raise invalid("is missing, or no object", "response_format.json_schema.schema")
    check_schema(schema)
    return schema


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > _STOPS or not all(isinstance(one, str) and one for one in stops):
        raise invalid(f"is no text, and no list of at most {_STOPS} texts", "stop")
    if any(len(one) > _STOP_LENGTH for one in stops):
        raise invalid(f"has more than {_STOP_LENGTH} characters", "stop")
    return tuple(stops)
