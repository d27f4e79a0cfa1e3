"""A checkpoint from which training goes on exactly: batches, rates and random numbers follow from the step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganglion.core.errors import GanglionError
from ganglion.core.paths import written_aside


@dataclass
class Progress:
    """How far training is.

    step       steps done
    resumed    the step before which the run was last taken up again; None if it never was
    best       lowest validation loss so far, and the step after which it was found
    history    entries of history.json
    since      losses, gradient norms, sensor shares and gates of the steps since the last entry
    epoch_sum  sum of the losses of the steps of this epoch
    """

    step: int = 0
    resumed: int | None = None
    best: float | None = None
    best_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    since: list[dict[str, float]] = field(default_factory=list)
    epoch_sum: float = 0.0


def save_checkpoint(
    path: Path, progress: Progress, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Write all that the next step depends on, atomically.

    Raises:
        GanglionError: the disk is full.
    """
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    state = {"weights": weights, "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    with written_aside(path) as aside:
        torch.save(state, aside)


def load_checkpoint(
    path: Path, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, device: torch.device
) -> Progress:
    """Go back to a checkpoint; no progress where there is none. What it holds is read as plain tensors and numbers.

    Raises:
        GanglionError: the file is damaged.
    """
    if not path.exists():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
        if set(state["weights"]) != set(parameters):
            raise KeyError("weights")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state["weights"][name])
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(**state["progress"])
    except Exception as error:  # torch.load raises pickle, zip, runtime and key errors alike
        raise GanglionError(
            f"is damaged ({type(error).__name__})", where=path, remedy="remove it and run again"
        ) from error
    progress.resumed = progress.step
    return progress
