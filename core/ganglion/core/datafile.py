"""Reading a task's data file: every bad row is named, before anything else happens."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, RowError, Task

_SHOWN_ERRORS = 20
_MOST_PIXELS = 2**26  # far more than any camera frame; a file of a few kilobytes can unpack to gigabytes


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
                column = f"turns[{k}].{task.image_column}" if k else task.image_column
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _MOST_PIXELS is below its limit
            image = Image.open(path)
        with image:
            if image.width * image.height > _MOST_PIXELS:
                raise RowError(column, f"{path} has {image.width} x {image.height} pixels", "shrink the image")
            image.load()
    except FileNotFoundError:
        raise RowError(column, f"{path} does not exist", "correct the path (relative to the data file)") from None
    except Image.DecompressionBombError:
        raise RowError(column, f"{path} has far too many pixels", "shrink the image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise RowError(column, f"{path} can't be decoded ({error})", "replace the image") from None


def _read_list(path: Path) -> list[Any]:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")  # some editors put a byte order mark before the first character
        rows = json.loads(text, parse_constant=_NotFinite, object_pairs_hook=_unique)
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="correct --data") from None
    except IsADirectoryError:
        raise InputError("is a folder", where=path, remedy="give the JSON file in it") from None
    except OSError as error:
        raise InputError(f"can't be read ({error.strerror})", where=path, remedy="correct its permissions") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"is not UTF-8 (line {line}, byte {error.start})", where=path, remedy="save it as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"is not JSON ({error.msg}, line {error.lineno} column {error.colno})", where=path, remedy="correct it"
        ) from None
    except RecursionError:
        raise InputError("is nested too deep", where=path, remedy="give a list of flat rows") from None
    except _KeyTwice as twice:
        raise InputError(
            f"gives key {twice.args[0]!r} twice in one object", where=path, remedy="take one away"
        ) from None
    if not isinstance(rows, list):
        raise InputError(f"holds {type(rows).__name__}, not a list of rows", where=path, remedy="wrap the rows in [ ]")
    if not rows:
        raise InputError("holds no rows", where=path, remedy="add at least one")
    return rows


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwice(next(key for key in keys if keys.count(key) > 1))
    return found


class _KeyTwice(Exception):
    """An object gives a key more than once; JSON libraries would keep the last one in silence."""


class _NotFinite(str):
    """NaN or Infinity in a file: kept as text, so that the row's own check names the column."""
