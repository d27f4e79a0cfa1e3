"""Rows in CSV: a header, then a row a record; cells are text.

Which cells are more than text is for the task to say. A cell stays text where the task takes text. Where it refuses the
text of a column, the cell's JSON value is taken (an object, a list, a number, true, false, null), and an empty cell is
a column left out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ganglion.core.errors import InputError
from ganglion.core.rows.lines import lines
from ganglion.core.tasks.task import RowError

MOST_CELL_BYTES = 16 * 2**20
Table = Callable[[Iterable[Mapping[str, str]]], Iterator[Mapping[str, Any]]]
Read = TypeVar("Read")


class Cells(dict[str, Any]):
    """A row of a CSV file as it stands: all values are text."""


def csv_rows(path: Path, from_table: Table | None = None) -> Iterator[Any]:
    """The rows of a CSV file, unchecked, as Cells; a RowError in place of a record of another length than the header.

    Args:
        path: UTF-8, commas between cells, quotes around cells with commas, quotes or line ends.
        from_table: makes the task's rows of the cells; then these are given.

    Raises:
        InputError: the file is missing, holds no rows or no good header, is no CSV, or a cell is beyond the limit.
    """
    faults: list[RowError] = []
    taken = 0

    def good() -> Iterator[Cells]:
        nonlocal taken
        for cells in _records(path):
            taken += 1
            if isinstance(cells, RowError):
                faults.append(cells)
            else:
                yield cells

    if from_table is None:
        yield from _records(path)
        return
    try:
        for row in from_table(good()):
            yield from _emptied(faults)
            yield row
    except RowError as error:  # a table can't be read on from the middle
        raise InputError(f"record {taken}: {error}", where=path) from None
    yield from _emptied(faults)


def _emptied(faults: list[RowError]) -> list[RowError]:
    found = faults.copy()
    faults.clear()
    return found


def settled(cells: Cells, read: Callable[[Mapping[str, Any]], Read]) -> Read:
    """Read a row whose cells may stand for JSON.

    Args:
        cells: the row.
        read: makes an example of a row, or raises RowError.

    Raises:
        RowError: no reading of the cells is a good row.
    """
    row: dict[str, Any] = dict(cells)
    while True:
        try:
            return read(dict(row))
        except RowError as error:
            column = next((name for name in row if name == error.column or _head(error.column) == name), None)
            if column is None or row[column] is not cells[column]:
                raise
            if not row[column]:
                del row[column]
                continue
            try:
                row[column] = _as_json(row[column])
            except ValueError:
                raise error from None


def _head(column: str) -> str:
    """The column of `turns[0].answer`."""
    return column.split(".")[0].split("[")[0]


def _as_json(cell: str) -> Any:
    """Raises ValueError where the cell is no JSON, or a JSON string: that is no better than text."""
    try:
        value = json.loads(cell)
    except RecursionError:
        raise ValueError from None
    if isinstance(value, str):
        raise ValueError
    return value


def _records(path: Path) -> Iterator[Cells | RowError]:
    source = _Source(path)
    reader = csv.reader(source, strict=True)
    csv.field_size_limit(MOST_CELL_BYTES)
    header: list[str] | None = None
    count = 0
    while True:
        source.begin_record()
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise source.explained(str(error), header) from None
        if record is None:
            break
        if not record:  # an empty line
            continue
        if header is None:
            header = _checked_header(record, path)
            continue
        count += 1
        if len(record) == len(header):
            yield Cells(zip(header, record, strict=True))
        else:
            what = f"line {source.first_line} has {len(record)} cells, the header {len(header)}"
            yield RowError("", what, "put quotes around cells with commas, and a comma for each empty cell")
    if header is None:
        raise InputError("is empty", where=path, remedy="give a header and rows")
    if not count:
        raise InputError("holds no rows", where=path, remedy="add at least one below the header")


def _checked_header(header: list[str], path: Path) -> list[str]:
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"has two columns {name!r:.60}", where=path, remedy="take one away")
        if not name.strip():
            raise InputError("has a column without a name", where=path, remedy="name every column in the first line")
    for separator in (";", "\t"):
        if len(header) == 1 and separator in header[0]:
            raise InputError(f"separates cells by {separator!r}", where=path, remedy="save it with commas")
    return header


class _Source:
    """The lines of a file for csv.reader, and where in it the record at hand begins."""

    def __init__(self, path: Path) -> None:
        self._path, self._lines = path, lines(path, MOST_CELL_BYTES)
        self.first_line, self._number, self._record = 1, 0, [""]

    def begin_record(self) -> None:
        self.first_line, self._record = self._number + 1, []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._number = line.number
            try:
                text = line.text()
            except UnicodeDecodeError as error:
                if line.whole or error.start < len(line.data) - 4:
                    raise self._error(f"line {line.number} is not UTF-8", "save the file as UTF-8") from None
                text = line.data[: error.start].decode("utf-8")
            if "\0" in text:
                raise self._error(f"line {line.number} holds a NUL character", "save the file as UTF-8 text")
            self._record.append(text)
            if not line.whole:
                raise csv.Error("line too long")
            yield text

    def explained(self, reason: str, header: list[str] | None) -> InputError:
        """What csv.reader met, in our words."""
        where = f"the record at line {self.first_line}"
        if reason.startswith(("field larger", "line too long")):
            column = self._column(header)
            most = f"more than {MOST_CELL_BYTES:,} bytes"
            return self._error(f"{where} has {most} in {column}", "shorten it, or close a quote that is left open")
        if reason.startswith("unexpected end"):
            return self._error(f"{where} has a quote that is never closed", "close it")
        if reason.startswith("new-line"):
            return self._error(f"line {self._number} ends in a bare carriage return", "save the file with line feeds")
        return self._error(f"line {self._number} is no CSV ({reason})", "double every quote within quotes")

    def _column(self, header: list[str] | None) -> str:
        """The column in which what was read of the record so far ends."""
        csv.field_size_limit(2**31 - 1)
        cells = list(csv.reader(["".join(self._record)]))[-1]
        csv.field_size_limit(MOST_CELL_BYTES)
        if header is None:
            return "the header"
        return f"column {header[len(cells) - 1]!r}" if len(cells) <= len(header) else f"cell {len(cells)}"

    def _error(self, what: str, remedy: str) -> InputError:
        return InputError(what, where=self._path, remedy=remedy)
