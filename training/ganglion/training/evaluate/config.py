"""What `ganglion evaluate` can be told. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of `ganglion evaluate`."""

    adapter: Path | None = None
    """Folder that 'ganglion train sft' wrote, or one with an ensemble.json that names such folders in it; required."""
    data: Path | None = None
    """The task's data file, best one not trained on; required, but for one case."""
    image: Path | None = None
    """exo_assist, one case instead of --data: image of the terrain."""
    feedback: str = ""
    """exo_assist, one case: what the wearer said."""
    previous: float | None = None
    """exo_assist, one case: assistance so far, in percent."""
    out: Path | None = None
    """Folder for predictions.csv, metrics.json and details.jsonl; default ADAPTER/evaluation."""
    with_base: bool = True
    """Score the untuned base too, on the same rows."""
    base_limit: int | None = None
    """Rows for the base, which seldom stops by itself and is slow; default all."""
    limit: int | None = None
    """Score only the first rows; default all."""
    batch_size: int = 50
    """Answers written at once."""
    max_new_tokens: int | None = None
    """Longest answer; default is the task's."""
    threads: int | None = None
    """CPU threads; default is torch's choice."""


@dataclass(frozen=True)
class Case:
    """One question: an image file, what was said, and the assistance so far in percent."""

    image: Path
    feedback: str
    previous: float


def checked(config: EvaluateConfig) -> tuple[Path, Path | Case, Path]:
    """Adapter folder, data file or one case, and output folder of a config whose values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    if config.adapter is None:
        raise InputError("no adapter given", remedy="add --adapter DIR, a folder that 'ganglion train sft' wrote")
    for name in ("limit", "base_limit", "batch_size", "max_new_tokens", "threads"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}", remedy="give 1 or more")
    return config.adapter, _subject(config), config.out or config.adapter / "evaluation"


def _subject(config: EvaluateConfig) -> Path | Case:
    of_case = {"image": config.image is not None, "feedback": config.feedback, "previous": config.previous is not None}
    given = [f"--{name}" for name, there in of_case.items() if there]
    if config.data is not None:
        if given:
            raise InputError(f"both --data and {given[0]} given", remedy="give a data file or one case, not both")
        return config.data
    if not given:
        raise InputError("no data given", remedy="add --data FILE.json, or --image, --feedback and --previous")
    if config.image is None or config.previous is None:
        missing = "image FILE" if config.image is None else "previous PERCENT"
        raise InputError(f"{given[0]} alone is no case", remedy=f"add --{missing}")
    for name in ("out", "limit", "base_limit"):
        if getattr(config, name) is not None:
            raise InputError(f"--{name} means nothing for one case", remedy="leave it out, or give --data")
    return Case(config.image, config.feedback, config.previous)
