"""`ganglion data validate FILE --task TASK`, or FOLDER: name each bad row of a data file, or say that all are good.

Of a set of episodes, every array and image is read and every digest made again; then what is wrong with it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.findings import FAILED, as_lines
from ganglion.core.tasks import get_task
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.faults import find_faults
from ganglion.training.demonstrations.integrity import check_set
from ganglion.training.demonstrations.measures import measure_set


@dataclass(frozen=True)
class ValidateConfig:
    """Options of `ganglion data validate`."""

    file: Path
    """Data file: JSON, JSON Lines, CSV, or Arrow as an import writes it; or the folder of a set of episodes."""
    task: str | None = None
    """Task whose rows they are; default exo_assist. A set of episodes takes none."""


def run(config: ValidateConfig) -> int:
    """Read the data as training would, images included; 2 if episodes can't be learned from.

    Raises:
        InputError: one line per bad row or episode.
    """
    if config.file.is_dir():
        return _validate_set(config)
    examples = read_datafile(config.file, get_task(config.task or "exo_assist"))
    print(f"{config.file}: {len(examples)} rows, all valid")
    return 0


def _validate_set(config: ValidateConfig) -> int:
    if config.task is not None:
        raise InputError("--task means nothing for a set of episodes", remedy="leave it out")
    episodes = EpisodeSet(config.file)
    check_set(episodes)
    findings = find_faults(episodes.robot, measure_set(episodes))
    print(f"{config.file}: {len(episodes)} episodes, all whole")
    for line in as_lines(findings):
        print(line)
    return 2 if any(finding.severity == FAILED for finding in findings) else 0
