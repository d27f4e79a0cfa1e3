"""The options of `ganglion quickstart`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class QuickstartConfig:
    """Run the whole pipeline on this machine and write a report."""

    out: Path = Path("runs/quickstart")
    """Folder of everything this run makes; what an earlier quickstart left in it is replaced."""
    sensor_data: Path | None = None
    """Folder of real OCT volumes; the sensor policy then trains on them, and only the sensor half runs."""
    seconds: float = 21.0
    """How long the robot is served at the end, in seconds."""
    seed: int = 0
    """Seed of all data, weights and streams; evaluation uses other seeds derived from it."""
    eval_count: int = 500
    """Fresh images that the served VLM is scored on."""
