"""The one form that data is brought to: an Arrow file with the rows of a task, larger than memory if need be.

Columns: id, group (rows that belong together: an episode, those that share an image), images (paths, relative to the
file's folder where they can be), row (the task's own row as JSON). What it is stands in the schema's metadata under
"ganglion": {"format", "task", "source"}. The file is mapped into memory, so that any row is read without the others.
"""

from __future__ import annotations

import bisect
import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError, MissingExtra
from ganglion.core.rows.lines import opened

FORMAT = 1
_KEY = b"ganglion"
_COLUMNS = ("id", "group", "images", "row")
_BATCH_ROWS, _BATCH_BYTES = 1000, 8 * 2**20
_BATCHES_KEPT = 2**12  # a few kilobytes each: their rows stay in the file


@dataclass(frozen=True)
class Record:
    """One row of the file, as its columns have it."""

    id: str
    group: str
    images: tuple[str, ...]
    row: str


class ArrowWriter:
    """Writes records as they come, in batches.

    Args:
        path: the file to write.
        task: name of the task whose rows they are.
        source: kind of data that they were made from.
    """

    def __init__(self, path: Path, task: str, source: str) -> None:
        pa = _pyarrow()
        about = json.dumps({"format": FORMAT, "task": task, "source": source})
        self._schema = _schema().with_metadata({_KEY: about.encode()})
        self._file = pa.ipc.new_file(str(path), self._schema)
        self._waiting: list[Record] = []
        self._bytes = 0

    def write(self, record: Record) -> None:
        """Add one record.

        Raises:
            OSError: the disk is full.
        """
        self._waiting.append(record)
        self._bytes += len(record.row)
        if len(self._waiting) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self._flush()

    def __enter__(self) -> ArrowWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._waiting:
            columns = [[getattr(record, name) for record in self._waiting] for name in _COLUMNS]
            self._file.write_batch(_pyarrow().record_batch(columns, schema=self._schema))
        self._waiting, self._bytes = [], 0


class ArrowRows:
    """An Arrow file, open: rows by number, and its records one after another.

    Args:
        path: a file that ArrowWriter wrote.

    Raises:
        InputError: it is missing, damaged, not of this form, or of a newer format.
        MissingExtra: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        pa = _pyarrow()
        with opened(path):
            pass  # the same words for a missing file as in every form
        self._path = path
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            starts = [0]
            for index in range(self._reader.num_record_batches):
                starts.append(starts[-1] + self._reader.get_batch(index).num_rows)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None
        self._starts = starts
        about = self._about()
        self.task, self.source = str(about.get("task")), str(about.get("source"))
        self._batch = functools.lru_cache(maxsize=_BATCHES_KEPT)(self._reader.get_batch)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> str:
        """The row of that number from 0, as JSON."""
        batch = bisect.bisect_right(self._starts, number) - 1
        row: str = self._batch(batch).column("row")[number - self._starts[batch]].as_py()
        return row

    def __reduce__(self) -> Any:
        """To another process goes the path alone: a mapped file would be copied."""
        return ArrowRows, (self._path,)

    def records(self) -> Iterator[Record]:
        """All records in order, each batch checked for damage first.

        Raises:
            InputError: a batch is damaged.
        """
        for index in range(len(self._starts) - 1):
            try:
                batch = self._reader.get_batch(index)
                batch.validate(full=True)
                columns: Iterable[Any] = zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True)
            except (_pyarrow().ArrowException, OSError, UnicodeDecodeError) as error:
                raise self._damaged(error) from None
            for identity, group, images, row in columns:
                yield Record(str(identity), str(group), tuple(images or ()), str(row))

    def _about(self) -> dict[str, Any]:
        schema = self._reader.schema
        try:
            about = json.loads((schema.metadata or {})[_KEY])
            version, _ = int(about["format"]), about["task"]
        except (KeyError, ValueError, TypeError):
            raise InputError(
                "is an Arrow file of another kind",
                where=self._path,
                remedy="bring it in with 'ganglion data import hf'",
            ) from None
        if version > FORMAT:
            raise InputError(
                f"has format {version}, newer than {FORMAT}",
                where=self._path,
                remedy="update Ganglion, or import again",
            )
        if not schema.equals(_schema()):
            raise InputError(
                f"has columns other than {', '.join(_COLUMNS)}", where=self._path, remedy="import the data again"
            )
        return dict(about)

    def _damaged(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())
        return InputError(f"is no whole Arrow file ({reason:.120})", where=self._path, remedy="import the data again")


def _schema() -> Any:
    pa = _pyarrow()
    text = pa.string()
    return pa.schema(list(zip(_COLUMNS, (text, text, pa.list_(text), text), strict=True)))


@functools.cache
def _pyarrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ModuleNotFoundError:
        raise MissingExtra("pyarrow", "train") from None
    return pa
