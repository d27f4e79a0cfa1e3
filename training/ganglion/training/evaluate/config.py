"""What `ganglion evaluate` can be told. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of `ganglion evaluate`."""

    adapter: Path | None = None
    """Folder that 'ganglion train sft' wrote; required."""
    data: Path | None = None
    """The task's data file, best one not trained on; required."""
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


def checked(config: EvaluateConfig) -> tuple[Path, Path, Path]:
    """Adapter folder, data file and output folder of a config whose values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    if config.adapter is None:
        raise InputError("no adapter given", remedy="add --adapter DIR, a folder that 'ganglion train sft' wrote")
    if config.data is None:
        raise InputError("no data given", remedy="add --data FILE.json")
    for name in ("limit", "base_limit", "batch_size", "max_new_tokens", "threads"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}", remedy="give 1 or more")
    return config.adapter, config.data, config.out or config.adapter / "evaluation"
