"""Stages of a benchmark that goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganglion.core.paths import write_json
from ganglion.demo.quickstart.stages import Stage, run_stages


def run_unfinished(stages: Sequence[Stage], folder: Path, lanes: int) -> None:
    """Run what has not finished yet; which has is noted in the folder with the very command that it was."""
    known = finished_stages(folder)
    commands = {stage.name: list(stage.argv) for stage in stages}
    done = {name for name, stage in known.items() if commands.get(name) == stage["argv"]}

    def finished(name: str, seconds: float) -> None:
        known[name] = {"argv": commands[name], "seconds": seconds}
        write_json(folder / "finished.json", known)

    run_stages([stage for stage in stages if stage.name not in done], folder / "logs", lanes, done, finished)


def finished_stages(folder: Path) -> dict[str, dict[str, Any]]:
    """Command and seconds of each stage that finished; of one that was interrupted, those of its last run."""
    note = folder / "finished.json"
    known: dict[str, dict[str, Any]] = json.loads(note.read_text()) if note.exists() else {}
    return known
