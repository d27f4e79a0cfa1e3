"""`ganglion data validate FILE --task TASK`: name each bad row of a data file, or say that all are good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import get_task


@dataclass(frozen=True)
class ValidateConfig:
    """Options of `ganglion data validate`."""

    file: Path
    """Data file: JSON, JSON Lines, CSV, or Arrow as an import writes it."""
    task: str = "exo_assist"
    """Task whose rows they are."""


def run(config: ValidateConfig) -> None:
    """Read the file as training would, images included.

    Raises:
        InputError: one line per bad row.
    """
    examples = read_datafile(config.file, get_task(config.task))
    print(f"{config.file}: {len(examples)} rows, all valid")
