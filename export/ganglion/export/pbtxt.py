"""Protobuf's text format, as far as a model configuration needs it: messages, repeated fields, enums."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | bool | int | Sequence[int] | Sequence[Message] | Message"
Message: TypeAlias = Mapping[str, Value]


class Name(str):
    """The name of an enum's value: stands without quotes."""

    __slots__ = ()


def to_pbtxt(message: Message, comments: Sequence[str] = ()) -> str:
    """A message as text, fields in the order given.

    Args:
        message: a mapping is a message, a list of mappings a repeated one, a list of integers a repeated number.
        comments: lines that stand before it.
    """
    return "".join(f"# {line}\n" for line in comments) + "".join(f"{line}\n" for line in _fields(message))


def _fields(message: Message) -> list[str]:
    lines: list[str] = []
    for key, value in message.items():
        if isinstance(value, Mapping):
            lines += _nested(key, value)
        elif isinstance(value, str | int):
            lines.append(f"{key}: {_scalar(value)}")
        elif all(isinstance(item, int) for item in value):
            lines.append(f"{key}: [{', '.join(map(str, value))}]")
        else:
            for item in value:
                assert isinstance(item, Mapping)
                lines += _nested(key, item)
    return lines


def _nested(key: str, message: Message) -> list[str]:
    return [f"{key} {{", *(f"  {line}" for line in _fields(message)), "}"]


def _scalar(value: str | int) -> str:
    if isinstance(value, Name):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)  # ASCII, with escapes that the text format has too
