"""Reading a task's data file: every bad row is named, before anything else happens."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.rows import ArrowRows, Cells, csv_rows, json_lines, json_list, settled
from ganglion.core.tasks import Example, LazyExamples, RowError, Task, read_example

_SHOWN_ERRORS = 20
_MOST_PIXELS = 2**26  # far more than any camera frame; a file of a few kilobytes can unpack to gigabytes
_WHOLE_KEPT = 2**14  # images known to be whole; rows that share one mostly lie close together


def read_datafile(path: Path, task: Task) -> Sequence[Example]:
    """Read a data file and check each row, its images included.

    Args:
        path: .json (a list of rows), .jsonl or .ndjson (a row a line), .csv, or .arrow by 'ganglion data import'.
        task: whose rows they are.

    Returns:
        A list; of an Arrow file LazyExamples, which reads a row when it is asked for.

    Raises:
        InputError: the file is missing, not of its form or empty, or rows are bad: one line per bad row, up to a limit.
    """
    if path.suffix == ".arrow":
        return _lazy(path, task)
    examples: list[Example] = []
    _check(path, checked(rows_of(path, task), task, path.parent), examples.append)
    return examples


def rows_of(path: Path, task: Task) -> Iterable[Any]:
    """The rows of a file, unchecked; a RowError in place of one that can't be read.

    All but a JSON list are read as the rows are asked for.

    Raises:
        InputError: the file is missing, not of its form or empty.
    """
    match path.suffix:
        case ".arrow":
            return _arrow_rows(_opened(path, task))
        case ".csv":
            return csv_rows(path, task.from_table)
        case ".jsonl" | ".ndjson":
            return json_lines(path)
        case _:
            return json_list(path)


def checked(rows: Iterable[Any], task: Task, folder: Path) -> Iterator[Example | RowError]:
    """An example of each row, images decoded once; a RowError in place of a bad one.

    Args:
        rows: as `rows_of` gives them.
        task: whose rows they are.
        folder: what image paths are relative to.
    """
    whole = functools.lru_cache(maxsize=_WHOLE_KEPT)(_fault)
    for row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            example = _read(task, row, folder)
            for k, turn in enumerate(example.turns):
                _check_text(turn.prompt + turn.answer)
                for image in turn.images:
                    if fault := whole(image):
                        raise RowError(f"turns[{k}].{task.image_column}" if k else task.image_column, *fault)
            yield example
        except RowError as error:
            yield error


def named_rows(path: Path, errors: Sequence[str], count: int, unit: str = "row") -> InputError:
    """The error about bad rows.

    Args:
        path: their file.
        errors: a line each, of the first ones at least.
        count: how many are bad.
        unit: what a row is called.
    """
    shown = [f"{path}: {line}" for line in errors[:_SHOWN_ERRORS]]
    rest = count - len(shown)
    return InputError("\n".join([*shown, *([f"{path}: and {rest} more bad {unit}s"] if rest > 0 else [])]))


def check_image(path: Path, column: str = "image_path") -> None:
    """Decode an image once, fully.

    Raises:
        RowError: it is missing, truncated, not an image, or unreasonably large.
    """
    if fault := _fault(path):
        raise RowError(column, *fault)


def _check(path: Path, found: Iterable[Example | RowError], keep: Any = None) -> None:
    errors: list[str] = []
    count = 0
    for index, example in enumerate(found):
        if isinstance(example, RowError):
            count += 1
            errors += [f"row {index}: {example}"] if count <= _SHOWN_ERRORS else []
        elif keep:
            keep(example)
    if count:
        raise named_rows(path, errors, count)


def _lazy(path: Path, task: Task) -> LazyExamples:
    rows = _opened(path, task)
    _check(path, checked(_arrow_rows(rows), task, path.parent))
    return LazyExamples(functools.partial(_example, rows, task, path.parent), range(len(rows)))


def _opened(path: Path, task: Task) -> ArrowRows:
    rows = ArrowRows(path)
    if rows.task != task.name:
        raise InputError(
            f"holds rows of {rows.task}, not {task.name}", where=path, remedy=f"use --task {rows.task}, or import again"
        )
    if not len(rows):
        raise InputError("holds no rows", where=path, remedy="import at least one")
    return rows


def _arrow_rows(rows: ArrowRows) -> Iterator[Any]:
    for record in rows.records():
        try:
            yield json.loads(record.row)
        except (ValueError, RecursionError):
            yield RowError("", f"is not JSON: {record.row!r:.40}", "import the data again")


def _example(rows: ArrowRows, task: Task, folder: Path, number: int) -> Example:
    return _read(task, json.loads(rows[number]), folder)


def _read(task: Task, row: Any, folder: Path) -> Example:
    if isinstance(row, Cells):
        return settled(row, lambda typed: read_example(task, typed, folder))
    return read_example(task, row, folder)


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise RowError("", f"holds half of a character ({half!a})", "correct the \\u escapes in it") from None


def _fault(path: Path) -> tuple[str, str] | None:
    """What is wrong with an image, and the remedy; None for a good one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _MOST_PIXELS is below its limit
            image = Image.open(path)
        with image:
            if image.width * image.height > _MOST_PIXELS:
                return f"{path} has {image.width} x {image.height} pixels", "shrink the image"
            image.load()
    except FileNotFoundError:
        return f"{path} does not exist", "correct the path (relative to the data file)"
    except Image.DecompressionBombError:
        return f"{path} has far too many pixels", "shrink the image"
    except Exception as error:  # Pillow's readers raise whatever they met in a damaged file
        reason = " ".join(str(error).split())
        return f"{path} can't be decoded ({reason or type(error).__name__})", "replace the image"
    return None
