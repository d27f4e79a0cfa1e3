"""Rows of a Hugging Face data set: a folder of save_to_disk, files (Parquet, Arrow, JSON, CSV), or a name on the hub.

Rows are streamed. Embedded pictures become files, class numbers their names, and a null is a column left out. No code
that comes with a data set is run: `datasets` has given that up, and its reader of pickles is closed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.tasks import RowError
from ganglion.training.data.importers import conversations, messages
from ganglion.training.data.importers.importer import DATA, Request, Rows

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_BUILDERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
}
_SAVED = ("state.json", "dataset_dict.json")  # what save_to_disk leaves


def huggingface(request: Request) -> dict[str, Rows]:
    """All rows of one split.

    Raises:
        InputError: there is no such data set, split or column, or it can't be read.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    found = _guarded(request.source, lambda: _opened(request))
    columns = dict(request.columns or {name: name for name in found.column_names or ()})
    if missing := sorted(set(columns) - set(found.column_names or columns)):
        raise InputError(
            f"has no column {missing[0]!r}", where=request.source, remedy=f"it has {', '.join(found.column_names)}"
        )
    names = {name: kind.names for name, kind in (found.features or {}).items() if hasattr(kind, "names")}
    return {DATA: _rows(found, columns, names, request)}


def _opened(request: Request) -> Any:
    """The split, as an iterable data set that leaves pictures as bytes."""
    import datasets

    datasets.disable_progress_bars()
    source, split = request.source, request.split
    if any((source / name).is_file() for name in _SAVED):
        saved = datasets.load_from_disk(str(source))
        if isinstance(saved, datasets.DatasetDict):
            if split not in saved:
                raise InputError(f"has no split {split!r}", where=source, remedy=f"use one of {', '.join(saved)}")
            saved = saved[split]
        return saved.to_iterable_dataset().decode(False)
    if source.is_file():
        if source.suffix not in _BUILDERS:
            raise InputError("is no file of a data set", where=source, remedy=f"give one of {', '.join(_BUILDERS)}")
        files: dict[str, Any] = {"path": _BUILDERS[source.suffix], "data_files": {split: str(source)}}
    elif source.is_dir() or _HUB_NAME.fullmatch(str(source)):
        files = {"path": str(source)}
    else:
        raise InputError("no such file or folder", where=source, remedy="correct the path")
    return datasets.load_dataset(**files, split=split, streaming=True).decode(False)


def _guarded(source: Path, call: Any) -> Any:
    """Run what a library may fail in, in its own ways, as one line about the source."""
    try:
        return call()
    except (InputError, RowError, ModuleNotFoundError):
        raise
    except Exception as error:
        cause = error.__cause__ or error  # `datasets` says "an error occurred", and the reason behind it
        reason = " ".join(str(cause).split()) or type(cause).__name__
        remedy = "check the path, or the name and the network"
        raise InputError(f"can't be read as a data set ({reason:.200})", where=source, remedy=remedy) from None


def _rows(found: Any, columns: Mapping[str, str], names: Mapping[str, list[str]], request: Request) -> Iterator[Any]:
    rows = iter(found)
    while (row := _guarded(request.source, lambda: next(rows, None))) is not None:
        try:
            named = {name: names[name][v] if name in names and isinstance(v, int) else v for name, v in row.items()}
            taken = {columns[name]: _plain(value, name, request) for name, value in named.items() if name in columns}
            yield _as_task(_without_nulls(taken), request)
        except RowError as error:
            yield error


def _plain(value: Any, column: str, request: Request) -> Any:
    """The value in JSON's terms; a picture becomes a path."""
    if isinstance(value, Mapping):
        if set(value) == {"bytes", "path"}:
            return _picture(value, column, request)
        return {key: _plain(one, f"{column}.{key}", request) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, column, request) for one in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise RowError(
        column, f"is a {type(value).__name__}", "give text, numbers or pictures, or leave it out of --columns"
    )


def _picture(value: Mapping[str, Any], column: str, request: Request) -> str | None:
    if value["bytes"] is not None:
        return request.pictures.keep(bytes(value["bytes"]), column)
    return None if value["path"] is None else request.pictures.path_of(value["path"], column)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _as_task(row: dict[str, Any], request: Request) -> dict[str, Any]:
    """Conversations in the form that any task takes, other rows as they are."""
    if messages.KEY in row:
        return messages.message_row(row, request.pictures)
    if conversations.KEY in row and request.task.conversations != "own":
        return conversations.conversation_row(row, request.pictures)
    return row
