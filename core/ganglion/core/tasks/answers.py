"""Answers in JSON: the one way they are written, and how a model's text is read back."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

ITEM_SEPARATOR, KEY_SEPARATOR = ", ", ": "
# The same to llguidance, as options of its grammars or as "x-guidance" in a schema.
WRITING: Mapping[str, Any] = {
    "whitespace_flexible": False,
    "item_separator": ITEM_SEPARATOR,
    "key_separator": KEY_SEPARATOR,
    # Without \u, whose digits have two forms: control characters that have no short escape can't be written.
    "json_allowed_escapes": 'nrtbf\\"',
}
_MOST_DIGITS = 4000  # Python reads no longer whole numbers, and says so in words about itself


def write_answer(answer: Mapping[str, Any]) -> str:
    """One line of JSON with fixed separators, so that training targets and constrained decoding agree."""
    return json.dumps(answer, separators=(ITEM_SEPARATOR, KEY_SEPARATOR), ensure_ascii=False, allow_nan=False)


def read_answer(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer in `text`, or None where it is not strict JSON or not what the schema asks for."""
    try:
        answer = strict_json(text)
    except ValueError:
        return None
    return answer if _validator(json.dumps(schema)).is_valid(answer) else None


def strict_json(text: str) -> Any:
    """What the text says, without what the library lets pass: keys given twice, NaN, Infinity, numbers beyond floats.

    Raises:
        ValueError: it is no JSON, is one of these, or is nested too deep.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:  # brackets a thousand deep
        raise ValueError("nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number:.40} is no finite number")
    return value


def _whole(number: str) -> int:
    if len(number) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(number)} digits")
    return int(number)


@functools.cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
