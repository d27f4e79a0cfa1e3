"""Rows in JSON: a list, which is read as a whole, or JSON Lines, one row a line, which is read line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.rows.lines import lines, opened
from ganglion.core.tasks import RowError

_MOST_LINE_BYTES = 64 * 2**20  # room for a row with several pictures in base64


def json_list(path: Path) -> list[Any]:
    """The rows of a JSON list, unchecked.

    Raises:
        InputError: the file is missing, no JSON list, or empty.
    """
    with opened(path) as file:
        data = file.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"is not UTF-8 (line {line}, byte {error.start})", where=path, remedy="save it as UTF-8"
        ) from None
    try:
        rows = _parsed(text)
    except json.JSONDecodeError as error:
        remedy = "correct it, or name it .jsonl where each line is a row" if error.msg == "Extra data" else "correct it"
        raise InputError(
            f"is not JSON ({error.msg}, line {error.lineno} column {error.colno})", where=path, remedy=remedy
        ) from None
    except _Unfit as unfit:
        raise InputError(unfit.what, where=path, remedy=unfit.remedy) from None
    if not isinstance(rows, list):
        raise InputError(f"holds {type(rows).__name__}, not a list of rows", where=path, remedy="wrap the rows in [ ]")
    if not rows:
        raise InputError("holds no rows", where=path, remedy="add at least one")
    return rows


def json_lines(path: Path) -> Iterator[Any]:
    """The rows of a JSON Lines file, unchecked; a RowError in place of a line that can't be read. Empty lines are none.

    Raises:
        InputError: the file is missing, or holds no line.
    """
    found = False
    for line in lines(path, _MOST_LINE_BYTES):
        if line.data.strip():
            found = True
            yield _row(line.number, line.data, line.whole)
    if not found:
        raise InputError("holds no rows", where=path, remedy="add at least one")


def _row(number: int, data: bytes, whole: bool) -> Any:
    if not whole:
        what = f"line {number} has more than {_MOST_LINE_BYTES:,} bytes"
        return RowError("", what, "shorten the row; keep pictures in files of their own")
    try:
        return _parsed(data.decode("utf-8"))
    except UnicodeDecodeError:
        return RowError("", f"line {number} is not UTF-8", "save the file as UTF-8")
    except json.JSONDecodeError as error:
        return RowError("", f"line {number} is not JSON ({error.msg}, column {error.colno})", "write one row a line")
    except _Unfit as unfit:
        return RowError("", f"line {number} {unfit.what}", unfit.remedy)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_NotFinite, object_pairs_hook=_unique)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise _Unfit("is nested too deep", "give flat rows") from None
    except ValueError:  # the one other thing that json.loads refuses
        raise _Unfit("holds a number of thousands of digits", "shorten it") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        # JSON libraries would keep the last one in silence.
        raise _Unfit(f"gives key {twice!r} twice in one object", "take one away")
    return found


class _Unfit(Exception):
    """JSON by its grammar, but of no use as data."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy


class _NotFinite(str):
    """NaN or Infinity in a file: kept as text, so that the row's own check names the column."""
