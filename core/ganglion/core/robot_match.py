"""Calls held against all accepted values, by the rules of the Berkeley Function-Calling Leaderboard (BFCL).

Accepted is a list of {function: {argument: [values]}}, one per call. Texts are compared without case, spaces and
, . / - _ * ^; 5 equals 5.0; an argument may be left out where "" is among its values; calls may come in any order.
A dict is held key by key against lists of accepted values, as an argument list is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ganglion.core.robot_api import RobotApi
from ganglion.core.robot_check import Given

_OMITTED = ""
_IGNORED = re.compile(r"[ ,./\-_*^]")
Accepted = Sequence[Mapping[str, Mapping[str, Sequence[Any]]]]


def check_accepted(accepted: Any, api: RobotApi) -> str | None:
    """What is wrong with a row's `accepted`, or None."""
    if not isinstance(accepted, list) or not accepted:
        return "is no list of calls"
    for call in accepted:
        if not isinstance(call, Mapping) or len(call) != 1:
            return f"holds {call!r:.40}, not one function"
        ((name, arguments),) = call.items()
        if name not in api.functions:
            return f"names {name!r}, which is not declared"
        if not isinstance(arguments, Mapping) or not all(isinstance(v, list) and v for v in arguments.values()):
            return f"{name}: an argument has no list of values"
        declared = {argument.name for argument in api.functions[name].arguments}
        if strange := sorted(map(str, set(arguments) - declared)):
            return f"{name} has no argument {strange[0]!r}"
    return None


def matches(calls: Sequence[Given] | None, accepted: Accepted) -> bool:
    """Whether the calls of a valid program are the accepted ones, no more and no fewer, in any order."""
    if calls is None or len(calls) != len(accepted):
        return False
    return _perfect([[_call_fits(call, one) for one in accepted] for call in calls])


def _call_fits(call: Given, accepted: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
    ((name, arguments),) = accepted.items()
    return call[0] == name and _entries_fit(call[1], arguments)


def _entries_fit(given: Mapping[str, Any], accepted: Mapping[str, Sequence[Any]]) -> bool:
    """Each entry is among its accepted values, and one that is missing may be."""
    return all(name in accepted and _value_fits(value, accepted[name]) for name, value in given.items()) and all(
        name in given or _OMITTED in values for name, values in accepted.items()
    )


def _value_fits(value: Any, accepted: Sequence[Any]) -> bool:
    return any(_same(value, one) for one in accepted)


def _same(value: Any, one: Any) -> bool:
    """Whether a value is the accepted one."""
    if isinstance(value, Mapping):
        return isinstance(one, Mapping) and _entries_fit(value, one)
    if isinstance(value, list):
        return (
            isinstance(one, list)
            and len(value) == len(one)
            and all(_same(mine, theirs) for mine, theirs in zip(value, one, strict=True))
        )
    if isinstance(value, str) or isinstance(one, str):
        return isinstance(value, str) and isinstance(one, str) and _bare(value) == _bare(one)
    if isinstance(value, bool) or isinstance(one, bool):
        return value is one
    return bool(value == one)


def _bare(text: str) -> str:
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _perfect(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether each row can have a column of its own among those that fit it (Kuhn's augmenting paths)."""
    owner: dict[int, int] = {}

    def placed(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in tried:
                tried.add(column)
                if column not in owner or placed(owner[column], tried):
                    owner[column] = row
                    return True
        return False

    return all(placed(row, set()) for row in range(len(fits)))
