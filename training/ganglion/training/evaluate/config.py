"""What `ganglion evaluate` can be told. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of `ganglion evaluate`."""

    adapter: Path | None = None
    """Folder that 'ganglion train sft' wrote, or one with an ensemble.json that names such folders in it; required."""
    data: Path | None = None
    """The task's data file, best one not trained on; required, but for one case."""
    image: Path | None = None
    """One case instead of --data: the image, of the terrain for exo_assist, of the screen for gui_step."""
    feedback: str = ""
    """exo_assist, one case: what the wearer said."""
    previous: float | None = None
    """exo_assist, one case: assistance so far, in percent."""
    goal: str = ""
    """gui_step, one case: what the user wants."""
    memory: Path | None = None
    """gui_step, one case: file with the task's memory, which is read where it exists, and written with the step."""
    out: Path | None = None
    """Folder for predictions.csv, metrics.json and details.jsonl; default ADAPTER/evaluation."""
    with_base: bool = True
    """Score the untuned base too, on the same rows."""
    base_limit: int | None = None
    """Rows for the base, which seldom stops by itself and is slow; default all. Of a task with steps, whole tasks."""
    limit: int | None = None
    """Score only the first rows; default all. Of a task with steps, whole tasks."""
    max_tasks: int | None = None
    """gui_step: score so many tasks at most; default all."""
    task_start: int | None = None
    """gui_step: first task to score, by its position in the file, from 0."""
    task_end: int | None = None
    """gui_step: the task after the last one to score, by its position in the file."""
    batch_size: int = 50
    """Answers written at once."""
    max_new_tokens: int | None = None
    """Longest answer; default is the task's."""
    threads: int | None = None
    """CPU threads; default is torch's choice."""


CASE_OPTIONS = ("image", "feedback", "previous", "goal", "memory")
_OF_FILES = ("out", "limit", "base_limit", "max_tasks", "task_start", "task_end")


@dataclass(frozen=True)
class Case:
    """One question: an image file, and the other options given for it, by name."""

    image: Path
    options: Mapping[str, Any]


def checked(config: EvaluateConfig) -> tuple[Path, Path | Case, Path]:
    """Adapter folder, data file or one case, and output folder of a config whose values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    if config.adapter is None:
        raise InputError("no adapter given", remedy="add --adapter DIR, a folder that 'ganglion train sft' wrote")
    for name in ("limit", "base_limit", "max_tasks", "task_end", "batch_size", "max_new_tokens", "threads"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}", remedy="give 1 or more")
    if config.task_start is not None and config.task_start < 0:
        raise InputError(f"--task_start is {config.task_start}", remedy="give 0 or more")
    return config.adapter, _subject(config), config.out or config.adapter / "evaluation"


def _subject(config: EvaluateConfig) -> Path | Case:
    given = {name: value for name in CASE_OPTIONS if (value := getattr(config, name)) not in (None, "")}
    first = f"--{next(iter(given), '')}"
    if config.data is not None:
        if given:
            raise InputError(f"both --data and {first} given", remedy="give a data file or one case, not both")
        return config.data
    if not given:
        raise InputError(
            "no data given", remedy="add --data FILE.json, or --image, --feedback and --previous, or --image and --goal"
        )
    if config.image is None:
        raise InputError(f"{first} alone is no case", remedy="add --image FILE")
    for name in _OF_FILES:
        if getattr(config, name) is not None:
            raise InputError(f"--{name} means nothing for one case", remedy="leave it out, or give --data")
    return Case(given.pop("image"), given)
