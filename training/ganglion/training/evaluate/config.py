"""What `ganglion evaluate` can be told. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of `ganglion evaluate`."""

    adapter: Path
    """Folder that 'ganglion train sft' wrote."""
    data: Path
    """The task's data file, best one not trained on."""
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
