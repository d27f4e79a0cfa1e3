"""`ganglion data import KIND SOURCE --out DIR`: data of many kinds in one of two forms.

Rows of a task become Arrow files that need no memory: DIR/data.arrow, or train, val and test; DIR/images/ with the
pictures that came embedded; and what else the task's rows are read beside. Demonstrations become a set of episodes
(ganglion.training.demonstrations). The table of kinds is in `importers`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from ganglion.core.datafile import named_rows
from ganglion.core.errors import InputError
from ganglion.core.paths import written_aside
from ganglion.core.specs import RobotSpec, robot_from_dict
from ganglion.core.tasks import Task, get_task, task_names
from ganglion.training.data.importers.importer import DATA, DemonstrationImporter, Importer, Request
from ganglion.training.data.importers.pictures import Pictures
from ganglion.training.data.importers.table import IMPORTERS
from ganglion.training.data.importers.writing import BAD_ROWS_FILE, TEST, VAL, BadRows, Target, write_part, write_split
from ganglion.training.demonstrations.recordings import RecordingsRequest, write_recordings

_OF_ALL = ("kind", "source", "out", "bad_rows")
_OF_ROWS = ("task", "val_share", "test_share", "seed")
Write = Callable[[Path, BadRows], Mapping[str, int]]  # (folder, where to put what is bad) -> how many of what


@dataclass(frozen=True)
class ImportConfig:
    """Options of `ganglion data import`."""

    kind: str
    """What it is: json, csv, conversations, messages, hf, screenagent, chess_diagrams, bfcl or calvin give rows of a
    task; rlds, lerobot and oct_needle_pose give demonstrations."""
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
    """error: write nothing if a row or an episode is bad; skip: leave it out and list it in bad_rows.jsonl."""
    image_base_dir: Path | None = None
    """What image paths in the rows are relative to; default is the source's folder."""
    split: str | None = None
    """hf, rlds: which split; default train."""
    columns: dict[str, str] | None = None
    """hf: columns to take, and what the task calls them, such as {"question": "prompt"}; default all as they are.
    rlds: features of a step to take, and whether they are actions, state, instruction or a camera of some name, such as
    {"action": "actions", "observation/image_0": "front"}; default what most data sets call these."""
    robot: Path | None = None
    """rlds, lerobot: JSON file with the robot spec, or a set's set.json; default names from the data and limits as
    measured."""
    rate_hz: float | None = None
    """rlds: steps per second; default that of the robot's actions."""
    session: str | None = None
    """rlds: metadata of an episode that tell what was recorded together, or episode: each on its own; default file_path
    where there is one."""


def run(config: ImportConfig) -> None:
    """Write the data and say how much there is of it.

    Raises:
        InputError: an option or the source is bad, or rows or episodes of it are, or the folder is there already.
        GanglionError: the disk is full.
    """
    if config.kind not in IMPORTERS:
        raise InputError(f"unknown kind {config.kind!r}", remedy=f"use one of {', '.join(IMPORTERS)}")
    if config.out is None:
        raise InputError("no folder to write to", remedy="add --out DIR")
    if config.out.exists():
        raise InputError("is there already", where=config.out, remedy="choose another --out")
    importer = IMPORTERS[config.kind]
    _check_options(config, importer)
    if isinstance(importer, Importer):
        unit, write = "row", _rows(config, importer)
    else:
        unit, write = "episode", _demonstrations(config, importer)
    with written_aside(config.out) as aside:
        aside.mkdir()
        bad = BadRows(aside / BAD_ROWS_FILE if config.bad_rows == "skip" else None, unit)
        counts = write(aside, bad)
        if not counts:
            raise _nothing(config.source, bad)
    print(f"{config.out}: " + ", ".join(f"{count} {unit}s of {name}" for name, count in counts.items()))
    if bad.count:
        print(f"{bad.count} bad {unit}s left out, listed in {config.out / BAD_ROWS_FILE}")


def _check_options(config: ImportConfig, importer: Importer | DemonstrationImporter) -> None:
    own = (*_OF_ROWS, *importer.options) if isinstance(importer, Importer) else importer.options
    for field in fields(config):
        if field.name not in (*_OF_ALL, *own) and getattr(config, field.name) != field.default:
            raise InputError(f"--{field.name} means nothing for {config.kind}", remedy="leave it out")
    if config.bad_rows not in ("error", "skip"):
        raise InputError(f"--bad_rows is {config.bad_rows!r}", remedy="use error or skip")


def _demonstrations(config: ImportConfig, importer: DemonstrationImporter) -> Write:
    if config.rate_hz is not None and not 0 < config.rate_hz < 1e6:
        raise InputError(f"--rate_hz is {config.rate_hz:g}", remedy="give steps per second")
    robot = _robot(config.robot) if config.robot else None
    recordings = importer.recordings(
        RecordingsRequest(config.source, robot, config.rate_hz, config.split, config.columns, config.session)
    )

    def write(aside: Path, bad: BadRows) -> Mapping[str, int]:
        count, notes = write_recordings(recordings, aside, bad.add)
        if bad.count and not bad.file:
            raise named_rows(config.source, bad.lines, bad.count, bad.unit)
        print("".join(f"{note}\n" for note in notes), end="")
        return {recordings.robot.name: count} if count else {}

    return write


def _robot(path: Path) -> RobotSpec:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read as JSON ({error})", where=path, remedy="correct --robot") from None
    return robot_from_dict(found.get("robot", found) if isinstance(found, dict) else found, path)


def _rows(config: ImportConfig, importer: Importer) -> Write:
    task = _task(config, importer)
    _check_rows(config, task)
    return lambda aside, bad: _write_rows(config, importer, task, aside, bad)


def _task(config: ImportConfig, importer: Importer) -> Task:
    name = config.task or importer.task
    if name is None:
        raise InputError("no task given", remedy=f"add --task, one of {', '.join(task_names())}")
    if importer.fixed and name != importer.task:
        raise InputError(f"--task is {name}, but {config.kind} is data for {importer.task}", remedy="leave --task out")
    return get_task(name)


def _check_rows(config: ImportConfig, task: Task) -> None:
    if not (config.val_share >= 0 and config.test_share >= 0 and config.val_share + config.test_share < 1):
        raise InputError(
            f"--val_share is {config.val_share:g} and --test_share {config.test_share:g}",
            remedy="give shares from 0, less than 1 together",
        )
    if config.image_base_dir is not None and not config.image_base_dir.is_dir():
        raise InputError("is no folder", where=config.image_base_dir, remedy="correct --image_base_dir")
    if config.kind in ("conversations", "messages") and task.conversations == "none":
        raise InputError(f"a row of {task.name} needs more than a conversation", remedy="give the task's own rows")


def _write_rows(config: ImportConfig, importer: Importer, task: Task, aside: Path, bad: BadRows) -> Mapping[str, int]:
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
        return InputError(f"holds no {bad.unit}s", where=source, remedy="give at least one")
    return InputError(f"holds {bad.count} bad {bad.unit}s and no good one; {bad.lines[0]}", where=source)
