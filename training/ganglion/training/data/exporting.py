"""`ganglion data export SET --out DIR`: a set of episodes in a form that other programs read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.episode_set import EpisodeSet


@dataclass(frozen=True)
class DataExportConfig:
    """Options of `ganglion data export`."""

    source: Path
    """The folder with the set of episodes."""
    out: Path | None = None
    """Folder to write; required, and not there yet."""
    kind: str = "lerobot"
    """What it becomes: lerobot, a LeRobotDataset v3.0."""


def _lerobot(episodes: EpisodeSet, out: Path) -> None:
    from ganglion.training.demonstrations.lerobot.exporting import export_lerobot  # PyAV and pyarrow load slowly

    export_lerobot(episodes, out)


EXPORTERS: dict[str, Callable[[EpisodeSet, Path], None]] = {"lerobot": _lerobot}


def run(config: DataExportConfig) -> None:
    """Write the episodes and say how many there are.

    Raises:
        InputError: an option is bad, the set can't be read, or the folder is there already.
        GanglionError: the disk is full.
    """
    if config.kind not in EXPORTERS:
        raise InputError(f"unknown kind {config.kind!r}", remedy=f"use {', '.join(EXPORTERS)}")
    if config.out is None:
        raise InputError("no folder to write to", remedy="add --out DIR")
    episodes = EpisodeSet(config.source)
    EXPORTERS[config.kind](episodes, config.out)
    print(f"{config.out}: {len(episodes)} episodes")
