"""Rows of any kind to Arrow files: checked one by one, grouped, split, and never all in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ganglion.core.datafile import checked, named_rows
from ganglion.core.errors import InputError
from ganglion.core.rows import ArrowRows, ArrowWriter, Record
from ganglion.core.tasks import Example, RowError, Task
from ganglion.training.data.importers.groups import Grouping, parts_of
from ganglion.training.data.importers.importer import Rows
from ganglion.training.data.importers.relocating import Relocator

BAD_ROWS_FILE = "bad_rows.jsonl"
_SHOWN_ERRORS = 20
TRAIN, VAL, TEST = "train", "val", "test"


@dataclass
class BadRows:
    """The rows that can't be used: how many, and a line for each of the first.

    Args:
        file: where they are listed and left out, or None: then one of them is enough to write nothing.
        unit: what a row is called.
    """

    file: Path | None
    unit: str = "row"
    count: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, row: int, error: Exception) -> None:
        """Note the row of that number."""
        self.count += 1
        if len(self.lines) < _SHOWN_ERRORS:
            self.lines.append(f"{self.unit} {row}: {error}")
        if self.file:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({self.unit: row, "reason": str(error)}, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Target:
    """Where and how rows are written.

    task     whose rows they are
    kind     what they come from, for the file
    source   for error lines
    folder   what image paths in the rows are relative to
    out      the folder as it will be called
    aside    the folder as long as it is being made
    """

    task: Task
    kind: str
    source: Path
    folder: Path
    out: Path
    aside: Path


def write_part(rows: Rows, name: str, target: Target, bad: BadRows) -> int:
    """Write all rows to one file NAME.arrow; returns how many. Without any there is no file.

    Raises:
        InputError: rows are bad, and there is no list for them.
        OSError: the disk is full.
    """
    return sum(_written(rows, target, bad, lambda groups: np.full(len(groups), name)).values())


def write_split(rows: Rows, shares: Mapping[str, float], seed: int, target: Target, bad: BadRows) -> dict[str, int]:
    """Write rows to train.arrow and a file for each share, by group; returns rows of each.

    Raises:
        InputError: as `write_part`; also where a part stays empty.
        OSError: the disk is full.
    """
    counts = _written(rows, target, bad, lambda groups: parts_of(groups, shares, seed, TRAIN))
    total = sum(counts.values())
    for name in (TRAIN, *shares):
        if total and name not in counts:
            raise InputError(
                f"{total} rows leave {name} empty, since rows that belong together stay so",
                where=target.source,
                remedy="give other shares or more rows",
            )
    return {name: counts[name] for name in (TRAIN, *shares) if name in counts}


def _written(rows: Rows, target: Target, bad: BadRows, split: Any) -> dict[str, int]:
    """Once through the rows to check them, then once through what was kept: groups are known at the end only."""
    scratch = target.aside / ".rows.arrow"
    grouping = Grouping(target.task)
    with ArrowWriter(scratch, target.task.name, target.kind) as file:
        for record, example in _good(rows, target, bad):
            grouping.add(example)
            file.write(record)
    if bad.count and not bad.file:
        raise named_rows(target.source, bad.lines, bad.count)
    counts: dict[str, int] = {}
    kept = ArrowRows(scratch)
    if len(kept):
        groups = grouping.groups()
        parts = split(groups)
        counts = {str(name): int(count) for name, count in zip(*np.unique(parts, return_counts=True), strict=True)}
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(ArrowWriter(target.aside / f"{name}.arrow", target.task.name, target.kind))
                for name in counts
            }
            for record, group, part in zip(kept.records(), groups, parts, strict=True):
                files[str(part)].write(Record(record.id, f"{group:016x}", record.images, record.row))
    scratch.unlink()
    return counts


def _good(rows: Rows, target: Target, bad: BadRows) -> Iterator[tuple[Record, Example]]:
    relocated = Relocator(target.folder, target.out, target.aside)
    bar = tqdm(rows, desc="importing", unit="row", disable=None, leave=False)
    for number, example in enumerate(checked(bar, target.task, target.folder)):
        try:
            if isinstance(example, RowError):
                raise example
            row, images = relocated(example)
            own = row.get("id")
            identity = str(own) if isinstance(own, str | int) else str(number)
            yield Record(identity, "", tuple(images), _as_text(row)), example
        except RowError as error:
            bad.add(number, error)


def _as_text(row: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False)
    except ValueError:
        raise RowError("", "holds a number that JSON has not", "replace infinity and the like") from None
    return text
