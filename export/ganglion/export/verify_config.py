"""What `ganglion export verify` can be told. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VerifyConfig:
    """Check a bundle: hashes, parity here, every gate."""

    bundle: Path
    """A folder that `ganglion export` wrote."""
    data: Path | None = None
    """Data file of the VLM's task, to answer and score again; it must be the one that the export was given."""
    data_limit: int | None = None
    """Score on the first rows only, as the export did."""
    base: str | None = None
    """Where the base of an adapter that was not merged is now; default is where it was in training."""
    report: Path | None = None
    """Write the rows as JSON, too."""
