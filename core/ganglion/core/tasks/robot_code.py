"""robot_code: from a command in plain language to a program in a robot's API; text only.

The API is declared data: `api.yaml` beside the data file, else the mobile arm that comes with this package. A row may
declare functions of its own, which its prompt then shows. Programs are parsed and compared, never executed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.robot_api import RobotApi, read_robot_api, robot_api_from_dict, signatures
from ganglion.core.robot_check import Checked, check_program
from ganglion.core.robot_match import check_accepted, matches
from ganglion.core.tasks.registry import register_task
from ganglion.core.tasks.task import Example, RowError, Task

API_FILE = "api.yaml"
DEFAULT_API = Path(__file__).with_name("mobile_arm.yaml")
_NEEDED, _MORE = ("input", "output", "category"), ("functions", "accepted")
_FENCE = re.compile(r"\s*```[a-z]*\n(.*?)```\s*", re.DOTALL)


def prompt(command: str, shown: RobotApi | None = None) -> str:
    """The user's turn; shown: the functions to tell of, None where the model is to know them."""
    functions = f"Functions:\n{signatures(shown)}\n" if shown else ""
    return f"{functions}Command: {command}\nCode:"


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    """Turn `{input, output, category}` into an Example whose context is the RobotApi.

    Two columns are optional. functions: this row's own API, as in api.yaml. accepted: for each call of the answer
    {function: {argument: [accepted values]}}, "" among them where the argument may be left out.

    Raises:
        RowError: a column is missing, unknown or empty, or `output` is no valid program of the API.
        InputError: api.yaml is bad.
    """
    _check_columns(row)
    own = _own_api(row["functions"]) if "functions" in row else None
    api = own or _api_of(folder)
    checked = check_program(row["output"], api)
    if checked.fault:
        raise RowError("output", checked.fault, f"write a program of the API {api.name!r}")
    if "accepted" in row and (fault := check_accepted(row["accepted"], api)):
        raise RowError("accepted", fault, "give [{function: {argument: [values]}}]")
    return Example((), prompt(row["input"], own), row["output"], row, context=api)


def _check_columns(row: Mapping[str, Any]) -> None:
    for key in row:
        if key not in _NEEDED + _MORE:
            raise RowError(str(key), "is unknown", f"use {[*_NEEDED, *_MORE]}")
    for key in _NEEDED:
        if key not in row:
            raise RowError(key, "is missing", "add it")
        if not (isinstance(row[key], str) and row[key].strip()):
            raise RowError(key, f"is {row[key]!r:.40}", "give a text")


def _own_api(functions: Any) -> RobotApi:
    try:
        return robot_api_from_dict({"name": "this row's functions", "functions": functions}, "functions")
    except InputError as error:
        raise RowError("functions", f"{error.where}: {error.what}", str(error.remedy)) from None


def _api_of(folder: Path) -> RobotApi:
    own = folder / API_FILE
    path = own if own.exists() else DEFAULT_API
    return _read_api(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read_api(path: Path, changed_ns: int) -> RobotApi:
    """Read once for all rows, and again when the file changes."""
    return read_robot_api(path)


def read_program(example: Example, answer: str) -> Checked:
    """An answer held against the example's API; a fence of ``` around it, as chat models write, is ignored."""
    fenced = _FENCE.fullmatch(answer)
    return check_program(fenced[1] if fenced else answer, example.context)


def canonical(example: Example, answer: str) -> str | None:
    """The normal form of an answer: arguments by name in declared order, defaults written out; None if invalid."""
    return read_program(example, answer).normal


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """Shares of all examples, and of each category as "category.name".

    parses, names_known, arguments_complete and api_valid each include the ones before; ast_equal: the same program up
    to argument order and defaults; exact_match: the same text; bfcl_match, where rows have `accepted`: each argument
    among the accepted values, calls in any order.
    """
    found = [_judged(example, answer) for example, answer in zip(examples, answers, strict=True)]
    categories = sorted({example.row["category"] for example in examples})
    scores = _shares(found)
    for category in categories:
        own = [one for example, one in zip(examples, found, strict=True) if example.row["category"] == category]
        scores |= {f"{category}.{name}": value for name, value in _shares(own).items()}
    return scores


def _judged(example: Example, answer: str) -> dict[str, bool]:
    checked = read_program(example, answer)
    judged = {
        "parses": checked.parses,
        "names_known": checked.known,
        "arguments_complete": checked.complete,
        "api_valid": checked.valid,
        "ast_equal": checked.normal is not None and checked.normal == canonical(example, example.answer),
        "exact_match": answer.strip() == example.answer.strip(),
    }
    if "accepted" in example.row:
        judged["bfcl_match"] = matches(checked.calls, example.row["accepted"])
    return judged


def _shares(judged: Sequence[Mapping[str, bool]]) -> dict[str, float]:
    shares = {"n": float(len(judged))}
    for name in dict.fromkeys(name for one in judged for name in one):
        having = [one[name] for one in judged if name in one]
        shares[name] = sum(having) / len(having)
    return shares


ROBOT_CODE = register_task(
    Task(
        name="robot_code",
        summary="robot API calls from a command in plain language",
        schema=None,
        max_new_tokens=256,
        headline="ast_equal",
        read_row=read_row,
        metrics=metrics,
        canonical=canonical,
        conversations="none",
        beside=(API_FILE,),
    )
)
