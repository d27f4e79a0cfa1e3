"""Answers in JSON: the one way they are written, and how a model's text is read back."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

ITEM_SEPARATOR, KEY_SEPARATOR = ", ", ": "


def write_answer(answer: Mapping[str, Any]) -> str:
    """One line of JSON with fixed separators, so that training targets and constrained decoding agree."""
    return json.dumps(answer, separators=(ITEM_SEPARATOR, KEY_SEPARATOR), ensure_ascii=False, allow_nan=False)


def read_answer(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer in `text`, or None where it is not JSON or not what the schema asks for."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):  # the latter for brackets a thousand deep
        return None
    return answer if _validator(json.dumps(schema)).is_valid(answer) else None


@functools.cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
