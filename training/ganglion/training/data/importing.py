"""`ganglion data import KIND SOURCE --out DIR`: data by others, in the form of the task it is a check of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.core.paths import written_aside
from ganglion.training.data.bfcl import import_bfcl
from ganglion.training.data.calvin import import_calvin
from ganglion.training.data.chess_diagrams import import_chess_diagrams

_IMPORTERS = {"bfcl": import_bfcl, "calvin": import_calvin, "chess_diagrams": import_chess_diagrams}


@dataclass(frozen=True)
class ImportConfig:
    """Options of `ganglion data import`."""

    kind: str
    """What it is: bfcl or calvin, both for the task robot_code, or chess_diagrams for chess_board."""
    source: Path
    """Folder with the original files."""
    out: Path | None = None
    """Folder to write; required, and not there yet."""


def run(config: ImportConfig) -> None:
    """Write the data files and say how many rows each has.

    Raises:
        InputError: an unknown kind, a bad source, or a folder that is there already.
    """
    if config.kind not in _IMPORTERS:
        raise InputError(f"unknown kind {config.kind!r}", remedy=f"use one of {', '.join(_IMPORTERS)}")
    if config.out is None:
        raise InputError("no folder to write to", remedy="add --out DIR")
    if config.out.exists():
        raise InputError("is there already", where=config.out, remedy="choose another --out")
    with written_aside(config.out) as aside:
        aside.mkdir()
        counts = _IMPORTERS[config.kind](config.source, aside)
    print(f"{config.out}: " + ", ".join(f"{count} rows of {name}" for name, count in counts.items()))
