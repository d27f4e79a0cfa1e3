"""One optimizer step, the learning rate of each, and a checkpoint from which training goes on exactly."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganglion.core.errors import GanglionError
from ganglion.core.paths import written_aside
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.source import Batch, predict

_MAX_GRADIENT_NORM = 1.0


def make_optimizer(policy: nn.Module, config: PolicyTrainConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings without weight decay."""
    matrices = [p for p in policy.parameters() if p.ndim == 2]
    others = [p for p in policy.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def learning_rate(step: int, config: PolicyTrainConfig) -> float:
    """Warm-up, then cosine to 0: a function of the step alone, so nothing of it needs saving."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def train_step(policy: VLAPolicy, optimizer: torch.optim.Optimizer, batch: Batch, bfloat16: bool) -> float:
    """Take one step on the L1 error and return it.

    Raises:
        GanglionError: the loss is no longer finite; the weights were left as they were.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        predicted = predict(policy, batch)
    loss = (predicted.float() - batch.actions).abs().mean()
    value = loss.item()
    if not math.isfinite(value):
        raise GanglionError(f"the loss is {value}", remedy="lower --lr, or look for NaN in the data")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    nn.utils.clip_grad_norm_(policy.parameters(), _MAX_GRADIENT_NORM)
    optimizer.step()
    return value


def use_bfloat16(precision: str) -> bool:
    """Whether matrix products are made in bfloat16: where asked for, or where the CPU has instructions for it.

    Measured on one core with AVX512-BF16: 0.13 instead of 0.30 s per step of 16 windows. Emulated it would be slower.
    """
    return precision == "bfloat16" or (precision == "auto" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu_flags()))


def _cpu_flags() -> list[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return line.split()
    except OSError:
        pass
    return []


@dataclass
class Progress:
    """How far training is: steps done, the history, and the losses since its last entry."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def save_checkpoint(path: Path, progress: Progress, policy: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write all that the next step depends on, atomically. Batches and learning rates follow from the step."""
    state = {"policy": policy.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    with written_aside(path) as aside:
        torch.save(state, aside)


def load_checkpoint(path: Path, policy: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Go back to a checkpoint; no progress where there is none.

    Raises:
        GanglionError: the file is damaged.
    """
    if not path.exists():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        policy.load_state_dict(state["policy"])
        optimizer.load_state_dict(state["optimizer"])
        return Progress(**state["progress"])
    except Exception as error:  # torch.load raises pickle, zip, runtime and key errors alike
        raise GanglionError(
            f"is damaged ({type(error).__name__})", where=path, remedy="remove it and run again"
        ) from error
