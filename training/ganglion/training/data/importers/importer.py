"""What it takes to bring in data of a kind, as rows of a task or as demonstrations; `table` has all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganglion.core.tasks import Task
from ganglion.training.data.importers.pictures import Pictures
from ganglion.training.demonstrations.recordings import Recordings, RecordingsRequest

DATA = "data"  # the part of a set that comes in one
Rows = Iterable[Any]


@dataclass(frozen=True)
class Request:
    """What is to be brought in.

    source    file, folder, or name of a data set
    task      whose rows they become
    pictures  takes those that come embedded
    split     of a data set that has several
    columns   column of the source -> column of the task; None takes all as they are
    """

    source: Path
    task: Task
    pictures: Pictures
    split: str
    columns: Mapping[str, str] | None


@dataclass(frozen=True)
class Importer:
    """A kind of data that becomes rows.

    rows     request -> rows of the task by part of the set, read when asked for; a RowError in place of a bad one
    task     name of the task where the kind has one, or of the one that is meant where none is named
    fixed    whether it has one
    options  fields of ImportConfig that this one takes, beside those that all kinds of rows do
    beside   name -> text of the files that lie beside its data; rows are then read beside these
    """

    rows: Callable[[Request], Mapping[str, Rows]]
    task: str | None = None
    fixed: bool = False
    options: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DemonstrationImporter:
    """A kind of data that becomes demonstrations.

    recordings  request -> what the source holds
    options     fields of ImportConfig that this one takes
    """

    recordings: Callable[[RecordingsRequest], Recordings]
    options: tuple[str, ...] = ()


def of_path(rows: Callable[[Path], Rows]) -> Callable[[Request], Mapping[str, Rows]]:
    """The rows of a kind that needs its source alone, as one part."""
    return lambda request: {DATA: rows(request.source)}
