"""Cases of the Berkeley Function-Calling Leaderboard v4 as robot_code rows, each with functions of its own.

The source is its folder bfcl_eval/data: JSON lines with question and function, and under possible_answer the accepted
values of every argument. `output` is made of the first accepted values; `accepted` keeps all, for bfcl_match.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.robot_api import Argument
from ganglion.core.tasks import RowError

_FILES = {"simple": "BFCL_v4_simple_python.json", "parallel": "BFCL_v4_parallel.json"}
_KINDS = {
    "integer": "int",
    "float": "float",
    "string": "str",
    "boolean": "bool",
    "array": "list",
    "tuple": "list",
    "dict": "dict",
    "any": "any",
}
_OMITTED = ""


def bfcl_rows(source: Path) -> Iterator[dict[str, Any] | RowError]:
    """All cases, category by category; a RowError in place of one that can't be used.

    Raises:
        InputError: a file is missing or holds something else.
    """
    for category, name in _FILES.items():
        yield from _rows(category, source, name)


def _rows(category: str, source: Path, name: str) -> Iterator[dict[str, Any] | RowError]:
    answers = dict(_lines(source / "possible_answer" / name))
    for identity, case in _lines(source / name):
        try:
            accepted = answers[identity]["ground_truth"]
            yield {
                "input": case["question"][0][-1]["content"],
                "output": "\n".join(_written(call) for call in accepted),
                "category": category,
                "functions": [_function(function, accepted) for function in case["function"]],
                "accepted": accepted,
            }
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            what = f"{name}: case {identity!r:.60} is not as in BFCL v4 ({type(error).__name__}: {error!s:.80})"
            yield RowError("", what, "take the file from its repository again")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            yield case["id"], case
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="give BFCL's folder bfcl_eval/data") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is not JSON lines with ids ({error})", where=path, remedy="take it again") from None


def _function(declared: Mapping[str, Any], accepted: list[Mapping[str, Any]]) -> dict[str, Any]:
    parameters = declared["parameters"]
    calls = [call[declared["name"]] for call in accepted if declared["name"] in call]
    arguments = []
    for name, about in parameters["properties"].items():
        values = [value for call in calls for value in call.get(name, [])]
        arguments.append(_argument(name, about, name in parameters.get("required", ()), values))
    return {"name": declared["name"], "summary": declared["description"], "arguments": arguments}


def _argument(name: str, about: Mapping[str, Any], required: bool, accepted: list[Any]) -> dict[str, Any]:
    """One argument. BFCL judges by accepted values, even where they are not of the declared type or enum."""
    kind = _KINDS[about["type"]]
    if any(Argument(name, kind, optional=not required).fault(_plain(one)) for one in accepted if one != _OMITTED):
        kind = "any"
    made = {"name": name, "kind": kind, "summary": about.get("description", "")}
    if enum := about.get("enum"):
        made["summary"] += f" One of: {', '.join(map(str, enum))}."
    if not required:
        made["optional"] = True
        if "default" in about and not Argument(name, made["kind"]).fault(about["default"]):
            made["default"] = about["default"]
    return made


def _written(call: Mapping[str, Mapping[str, list[Any]]]) -> str:
    ((name, arguments),) = call.items()
    given = [f"{key}={_first(values)!r}" for key, values in arguments.items() if _is_given(values)]
    return f"{name}({', '.join(given)})"


def _is_given(values: list[Any]) -> bool:
    return any(value != _OMITTED for value in values)


def _first(values: list[Any]) -> Any:
    return _plain(next(value for value in values if value != _OMITTED))


def _plain(value: Any) -> Any:
    """An accepted value as a call gives it: of a dict, the first accepted value of each entry."""
    if isinstance(value, dict):
        return {key: _first(inner) for key, inner in value.items() if _is_given(inner)}
    return [_plain(one) for one in value] if isinstance(value, list) else value
