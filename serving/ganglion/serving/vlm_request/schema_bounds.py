"""Schemas that a grammar is made of in bounded time.

llguidance bounds its own work on most schemas, and says so where one goes beyond. Not on `multipleOf`: its automaton
has as many states as the number, or as the least common multiple of those that apply together. 10,007 took 0.1 s,
300,007 took 17 s, two of about 1000 in one `allOf` more than 12 s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ganglion.serving.vlm_request.wrong import WrongField

_BYTES = 64_000
_DEPTH = 64
_STATES = 20_000
_DECIMALS = 12


def check_schema(schema: Mapping[str, Any], param: str) -> None:
    """Refuse a schema that is too large, too deep, or of too many states.

    Args:
        schema: a client's.
        param: the field that it came in.

    Raises:
        WrongField: it is.
    """
    multiples: list[Decimal] = []
    for key, value, depth in _walk(schema):
        if depth > _DEPTH:
            raise WrongField(f"the schema is nested more than {_DEPTH} deep", param)
        if key == "multipleOf" and isinstance(value, int | float) and not isinstance(value, bool):
            multiples.append(abs(Decimal(str(value))))
    if len(json.dumps(schema)) > _BYTES:
        raise WrongField(f"the schema has more than {_BYTES} bytes", param)
    if any(value > _STATES for value in multiples):
        raise WrongField(f"multipleOf is more than {_STATES}", param)
    digits = max((-int(value.as_tuple().exponent) for value in multiples), default=0)
    if digits > _DECIMALS:
        raise WrongField(f"multipleOf has {digits} decimals", param)
    whole = [int(value.scaleb(max(digits, 0))) for value in multiples]
    if sum(whole) > _STATES or math.lcm(*(value for value in set(whole) if value)) > _STATES:
        raise WrongField(f"all multipleOf together make more than {_STATES} states", param)


def _walk(schema: Any) -> Iterator[tuple[object, Any, int]]:
    """Each key or index with its value and depth, without recursion."""
    left: list[tuple[object, Any, int]] = [("", schema, 0)]
    while left:
        key, value, depth = left.pop()
        yield key, value, depth
        if isinstance(value, Mapping):
            left += [(name, part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            left += [(index, part, depth + 1) for index, part in enumerate(value)]
