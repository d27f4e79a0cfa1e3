"""What `ganglion export drift` can be told. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DriftConfig:
    """Compare the ways of merging an adapter with the model that was trained."""

    adapter: Path
    """Folder that `ganglion train sft` wrote."""
    data: Path | None = None
    """Data file of its task, not trained on: each merge is scored on it."""
    data_limit: int | None = None
    """Score on the first rows only; default all."""
    base: str | None = None
    """Where the adapter's base is now; default is where it was in training."""
    parity_samples: int = 4
    """Fresh inputs that logits are compared on; of --data as many rows again."""
    report: Path | None = None
    """Write rows and recommendation as JSON, too."""
