"""`ganglion data import KIND SOURCE --out DIR`: data of many kinds in one form, as Arrow files that need no memory.

DIR/data.arrow, or train, val and test; DIR/images/ with the pictures that came embedded; and what else the task's rows
are read beside. The table of kinds is in `importers`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.core.paths import written_aside
from ganglion.core.tasks import Task, get_task, task_names
from ganglion.training.data.importers.importer import DATA, Importer, Request
from ganglion.training.data.importers.pictures import Pictures
from ganglion.training.data.importers.table import IMPORTERS
from ganglion.training.data.importers.writing import BAD_ROWS_FILE, TEST, VAL, BadRows, Target, write_part, write_split


@dataclass(frozen=True)
class ImportConfig:
    """Options of `ganglion data import`."""

    kind: str
    """What it is: json, csv, conversations, messages, hf, screenagent, chess_diagrams, bfcl or calvin."""
    source: Path
    """The file or folder with the data; for hf also the name of a data set."""
    out: Path | None = None
    """Folder to write; required, and not there yet."""
    task: str | None = None
    """Task whose rows they become; conversations and messages: default chat; bfcl and calvin have their own."""
    val_share: float = 0.0
    """Share of rows set aside in val.arrow, whole groups of rows that belong together."""
    test_share: float = 0.0
    """Share of rows set aside in test.arrow."""
    seed: int = 0
    """Decides which groups are set aside."""
    bad_rows: str = "error"
    """error: write nothing if a row is bad; skip: leave it out and list it in bad_rows.jsonl."""
    image_base_dir: Path | None = None
    """What image paths in the rows are relative to; default is the source's folder."""
    split: str | None = None
    """hf: which split; default train."""
    columns: dict[str, str] | None = None
    """hf: columns to take, and what the task calls them, such as {"question": "prompt"}; default all as they are."""


def run(config: ImportConfig) -> None:
    """Write the data files and say how many rows each has.

    Raises:
        InputError: an option is bad, the source can't be used, rows are bad, or the folder is there already.
        GanglionError: the disk is full.
    """
    if config.kind not in IMPORTERS:
        raise InputError(f"unknown kind {config.kind!r}", remedy=f"use one of {', '.join(IMPORTERS)}")
    if config.out is None:
        raise InputError("no folder to write to", remedy="add --out DIR")
    if config.out.exists():
        raise InputError("is there already", where=config.out, remedy="choose another --out")
    importer = IMPORTERS[config.kind]
    task = _task(config, importer)
    _check(config, importer, task)
    with written_aside(config.out) as aside:
        aside.mkdir()
        bad = BadRows(aside / BAD_ROWS_FILE if config.bad_rows == "skip" else None)
        counts = _write(config, importer, task, aside, bad)
        if not counts:
            raise _nothing(config.source, bad)
    print(f"{config.out}: " + ", ".join(f"{count} rows of {name}" for name, count in counts.items()))
    if bad.count:
        print(f"{bad.count} bad rows left out, listed in {config.out / BAD_ROWS_FILE}")


def _task(config: ImportConfig, importer: Importer) -> Task:
    name = config.task or importer.task
    if name is None:
        raise InputError("no task given", remedy=f"add --task, one of {', '.join(task_names())}")
    if importer.fixed and name != importer.task:
        raise InputError(f"--task is {name}, but {config.kind} is data for {importer.task}", remedy="leave --task out")
    return get_task(name)


def _check(config: ImportConfig, importer: Importer, task: Task) -> None:
    for name in ("image_base_dir", "split", "columns"):
        if getattr(config, name) is not None and name not in importer.options:
            raise InputError(f"--{name} means nothing for {config.kind}", remedy="leave it out")
    if not (config.val_share >= 0 and config.test_share >= 0 and config.val_share + config.test_share < 1):
        raise InputError(
            f"--val_share is {config.val_share:g} and --test_share {config.test_share:g}",
            remedy="give shares from 0, less than 1 together",
        )
    if config.bad_rows not in ("error", "skip"):
        raise InputError(f"--bad_rows is {config.bad_rows!r}", remedy="use error or skip")
    if config.image_base_dir is not None and not config.image_base_dir.is_dir():
        raise InputError("is no folder", where=config.image_base_dir, remedy="correct --image_base_dir")
    if config.kind in ("conversations", "messages") and task.conversations == "none":
        raise InputError(f"a row of {task.name} needs more than a conversation", remedy="give the task's own rows")


def _write(config: ImportConfig, importer: Importer, task: Task, aside: Path, bad: BadRows) -> Mapping[str, int]:
    """Everything into `aside`; returns rows by part."""
    assert config.out is not None
    beside = config.source if config.source.is_dir() else config.source.parent
    for name, text in importer.beside.items():
        (aside / name).write_text(text, encoding="utf-8")
    for name in task.beside:  # files that decide how the rows are read go with them
        if (beside / name).is_file() and not (aside / name).exists():
            shutil.copyfile(beside / name, aside / name)
    folder = config.image_base_dir or beside
    request = Request(config.source, task, Pictures(aside), config.split or "train", config.columns)
    target = Target(task, config.kind, config.source, aside if importer.beside else folder, config.out, aside)
    shares = {name: share for name, share in ((VAL, config.val_share), (TEST, config.test_share)) if share}
    parts = importer.rows(request)
    if not shares:
        counts = {name: write_part(rows, name, target, bad) for name, rows in parts.items()}
        return {name: count for name, count in counts.items() if count}
    if set(parts) != {DATA}:
        raise InputError(f"{config.kind} comes in parts of its own", remedy="leave out --val_share and --test_share")
    return write_split(parts[DATA], shares, config.seed, target, bad)


def _nothing(source: Path, bad: BadRows) -> InputError:
    if not bad.count:
        return InputError("holds no rows", where=source, remedy="give at least one")
    return InputError(f"holds {bad.count} bad rows and no good one; {bad.lines[0]}", where=source)
