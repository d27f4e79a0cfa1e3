"""Reading a task's data file: every bad row is named, before anything else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, RowError, Task

_SHOWN_ERRORS = 20


def read_datafile(path: Path, task: Task) -> list[Example]:
    """Read a JSON list of rows and check each, its images included.

    Raises:
        InputError: the file is missing, not JSON or empty, or rows are bad: one line per bad row, up to a limit.
    """
    rows = _read_list(path)
    examples: list[Example] = []
    errors: list[str] = []
    whole: set[Path] = set()
    for index, row in enumerate(rows):
        try:
            if not isinstance(row, dict):
                raise RowError("", f"row is {row!r:.40}", "give an object")
            example = task.read_row(row, path.parent)
            for k, turn in enumerate(example.turns):
                column = f"turns[{k}].image_path" if k else "image_path"
                for image in turn.images:
                    if image not in whole:
                        check_image(image, column)
                        whole.add(image)
            examples.append(example)
        except RowError as error:
            errors.append(f"{path}: row {index}: {error}")
    if errors:
        rest = len(errors) - _SHOWN_ERRORS
        more = [f"{path}: and {rest} more bad rows"] if rest > 0 else []
        raise InputError("\n".join(errors[:_SHOWN_ERRORS] + more))
    return examples


def check_image(path: Path, column: str = "image_path") -> None:
    """Decode an image once, fully.

    Raises:
        RowError: it is missing, truncated, not an image, or unreasonably large.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise RowError(column, f"{path} does not exist", "correct the path (relative to the data file)") from None
    except Image.DecompressionBombError as error:
        raise RowError(column, f"{path}: {error}", "shrink the image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise RowError(column, f"{path} can't be decoded ({error})", "replace the image") from None


def _read_list(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"), parse_constant=_NotFinite)
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="correct --data") from None
    except IsADirectoryError:
        raise InputError("is a folder", where=path, remedy="give the JSON file in it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 (byte {error.start})", where=path, remedy="save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"is not JSON ({error.msg}, line {error.lineno} column {error.colno})", where=path, remedy="correct it"
        ) from None
    if not isinstance(rows, list):
        raise InputError(f"holds {type(rows).__name__}, not a list of rows", where=path, remedy="wrap the rows in [ ]")
    if not rows:
        raise InputError("holds no rows", where=path, remedy="add at least one")
    return rows


class _NotFinite(str):
    """NaN or Infinity in a file: kept as text, so that the row's own check names the column."""
