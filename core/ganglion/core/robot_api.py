"""A robot's API as declared data: functions with typed arguments, units and ranges. Nothing here calls them.

name: mobile arm
functions:
- name: move_forward
summary: drive straight ahead
arguments:
- {name: distance, kind: float, unit: m, low: 0.05, high: 5}
- {name: speed, kind: str, choices: [slow, normal, fast], default: normal}
- {name: distance_ahead, summary: distance to the next obstacle, returns: float, unit: m}
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ganglion.core.errors import InputError

KINDS = ("float", "int", "bool", "str", "list", "dict", "any")
REQUIRED: Any = object()  # the default of an argument that has none
_TYPES: Mapping[str, type] = {"bool": bool, "str": str, "list": list, "dict": dict, "any": object}
_NUMBERS = ("float", "int")


@dataclass(frozen=True)
class Argument:
    """One argument.

    kind      one of KINDS; an int is a float too; what is inside a list or dict is not checked
    summary   what it is, for whoever writes the call
    unit      of numbers, e.g. "m"
    low       smallest number, high: largest; both included, None for no limit
    choices   the only values of a str; empty for any
    default   what a call without it means; REQUIRED where none is declared
    optional  a call may leave it out though no default is declared, or give None
    """

    name: str
    kind: str
    summary: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    default: Any = REQUIRED
    optional: bool = False

    @property
    def required(self) -> bool:
        """Whether each call must give it."""
        return self.default is REQUIRED and not self.optional

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None: "is 9 m, above 5"."""
        if value is None and self.optional:
            return None
        if not self._typed(value):
            return f"is {value!r:.40}, not {self.kind}"
        if self.choices and value not in self.choices:
            return f"is {value!r:.40}, not one of {', '.join(self.choices)}"
        if self.low is not None and value < self.low:
            return f"is {value:g} {self.unit}".rstrip() + f", below {self.low:g}"
        if self.high is not None and value > self.high:
            return f"is {value:g} {self.unit}".rstrip() + f", above {self.high:g}"
        return None

    def settled(self, value: Any) -> Any:
        """The one form of a value that is without fault: 2 and 2.0 are the same float."""
        return float(value) + 0.0 if self.kind == "float" and value is not None else value  # -0.0 + 0.0 is 0.0

    def _typed(self, value: Any) -> bool:
        if self.kind not in _NUMBERS:
            return isinstance(value, _TYPES[self.kind])
        return is_number(value) and (self.kind == "float" or isinstance(value, int))


@dataclass(frozen=True)
class Function:
    """One function. returns: the kind of what it measures, None for an action; unit: of the number returned."""

    name: str
    summary: str = ""
    arguments: tuple[Argument, ...] = ()
    returns: str | None = None
    unit: str = ""


@dataclass(frozen=True)
class RobotApi:
    """All that a program may call."""

    name: str
    functions: Mapping[str, Function]


def is_number(value: Any) -> bool:
    """A finite int or float, and no bool; an int beyond the range of float is not finite here."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def read_robot_api(path: Path) -> RobotApi:
    """Read a declaration from YAML (or JSON, which is YAML).

    Raises:
        InputError: naming file, function, argument and what is wrong.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="correct the path") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't be read ({reason:.120})", where=path, remedy="correct it") from None
    return robot_api_from_dict(data, path)


def robot_api_from_dict(data: Any, where: object) -> RobotApi:
    """Build an API from plain data and check that it makes sense.

    Raises:
        InputError: as `read_robot_api`.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("functions"), list) or not data["functions"]:
        raise InputError("declares no functions", where=where, remedy="add 'functions:' with a list")
    if strange := [key for key in data if key not in ("name", "functions")]:
        raise InputError(f"unknown key {strange[0]!r}", where=where, remedy="use name and functions")
    functions: dict[str, Function] = {}
    for index, entry in enumerate(data["functions"]):
        function = _function(entry, f"{where}: function {index}", where)
        if function.name in functions:
            raise InputError("is declared twice", where=f"{where}: {function.name}", remedy="rename one")
        functions[function.name] = function
    return RobotApi(str(data.get("name", "robot")), functions)


def _function(entry: Any, place: str, where: object) -> Function:
    made = _checked(Function, entry, place)
    _check_name(made["name"], place, dotted=True)
    place = f"{where}: {made['name']}"
    _check_texts(made, place, "summary", "unit")
    if not isinstance(made.get("arguments", []), list):
        raise InputError("arguments are no list", where=place, remedy="give a list")
    arguments = tuple(_argument(one, place) for one in made.get("arguments", ()))
    if len({argument.name for argument in arguments}) < len(arguments):
        raise InputError("names an argument twice", where=place, remedy="rename one")
    if made.get("returns") not in (None, *KINDS):
        raise InputError(f"returns {made['returns']!r}", where=place, remedy=f"use one of {', '.join(KINDS)}")
    return Function(**{**made, "arguments": arguments})


def _argument(entry: Any, place: str) -> Argument:
    made = _checked(Argument, entry, f"{place}: argument")
    _check_name(made["name"], f"{place}: argument", dotted=False)
    place = f"{place}: argument {made['name']}"
    kind, choices = made["kind"], made.get("choices", [])
    if kind not in KINDS:
        raise InputError(f"has kind {kind!r}", where=place, remedy=f"use one of {', '.join(KINDS)}")
    _check_texts(made, place, "summary", "unit")
    _check_limits(made, place)
    if not isinstance(choices, list | tuple) or not all(isinstance(one, str) for one in choices):
        raise InputError(f"has choices {choices!r:.40}", where=place, remedy="give a list of texts")
    if choices and kind != "str":
        raise InputError(f"has choices but is {kind}", where=place, remedy="take them out, or make it str")
    if not isinstance(made.get("optional", False), bool):
        raise InputError(f"has optional {made['optional']!r}", where=place, remedy="use true or false")
    argument = Argument(**{**made, "choices": tuple(choices)})
    if argument.default is not REQUIRED and (fault := argument.fault(argument.default)):
        raise InputError(f"default {fault}", where=place, remedy="correct it")
    return argument


def _check_limits(made: Mapping[str, Any], place: str) -> None:
    low, high = made.get("low"), made.get("high")
    for name, value in (("low", low), ("high", high)):
        if value is not None and made["kind"] not in _NUMBERS:
            raise InputError(f"has {name} but is {made['kind']}", where=place, remedy="take it out")
        if value is not None and not is_number(value):
            raise InputError(f"has {name} {value!r:.40}", where=place, remedy="give a number")
    if low is not None and high is not None and low > high:
        raise InputError(f"goes from {low:g} to {high:g}", where=place, remedy="exchange low and high")


def _check_texts(made: Mapping[str, Any], place: str, *names: str) -> None:
    for name in names:
        if not isinstance(made.get(name, ""), str):
            raise InputError(f"has {name} {made[name]!r:.40}", where=place, remedy="give a text")


def _checked(cls: Any, entry: Any, place: str) -> dict[str, Any]:
    known = [field.name for field in fields(cls)]
    needed = [name for name in ("name", "kind") if name in known]
    if not isinstance(entry, Mapping):
        raise InputError(f"is {entry!r:.40}", where=place, remedy=f"give {', '.join(needed)} by name")
    if strange := [key for key in entry if key not in known]:
        raise InputError(f"unknown key {strange[0]!r}", where=place, remedy=f"use {', '.join(known)}")
    if missing := [key for key in needed if key not in entry]:
        raise InputError(f"{missing[0]} is missing", where=place, remedy="add it")
    return dict(entry)


def _check_name(name: Any, place: str, *, dotted: bool) -> None:
    parts = name.split(".") if isinstance(name, str) and dotted else [name]
    if not all(isinstance(part, str) and part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise InputError(f"is named {name!r:.60}", where=place, remedy="use letters, digits and _")


def signatures(api: RobotApi) -> str:
    """The API as text for a model: a line per function, and a line per argument that has more to say."""
    lines = []
    for function in api.functions.values():
        arguments = ", ".join(_signature(argument) for argument in function.arguments)
        returned = f" -> {function.returns} {function.unit}".rstrip() if function.returns else ""
        lines.append(f"{function.name}({arguments}){returned}" + (f": {function.summary}" if function.summary else ""))
        lines += [f"  {argument.name}: {said}" for argument in function.arguments if (said := _remarks(argument))]
    return "\n".join(lines)


def _signature(argument: Argument) -> str:
    default = f" = {argument.default!r}" if argument.default is not REQUIRED else " = ..." if argument.optional else ""
    return f"{argument.name}: {argument.kind}{default}"


def _remarks(argument: Argument) -> str:
    limits = [
        f"{word} {value:g}" for word, value in (("from", argument.low), ("to", argument.high)) if value is not None
    ]
    numbers = " ".join([argument.unit, *limits]).strip()
    return "; ".join(part for part in (argument.summary, numbers, ", ".join(argument.choices)) if part)
