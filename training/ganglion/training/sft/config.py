"""What `ganglion train sft` can be told. Light to import; `checked` names what is out of range."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.tasks import get_task

QUANTIZATIONS = ("nf4", "none")
SCHEDULES = ("cosine", "linear", "constant")
# Neither changes what is learned: a run may be continued with others.
_FREE = ("out", "threads", "force")


@dataclass(frozen=True)
class LoraOptions:
    """The low-rank adapter (Hu et al. 2021)."""

    r: int = 16
    """Rank."""
    alpha: float = 32.0
    """The adapter's output is scaled by alpha / r."""
    dropout: float = 0.05
    """Share of the adapter's inputs dropped in training."""
    target_modules: str | list[str] = "all-linear"
    """Layers to adapt: "all-linear" (all but the output head), one regular expression, or a list of name endings."""


@dataclass(frozen=True)
class OptimOptions:
    """AdamW and its schedule."""

    lr: float = 2e-4
    """Peak learning rate."""
    schedule: str = "cosine"
    """After warm-up: cosine, linear (both down to 0) or constant."""
    warmup_steps: int = 20
    """Optimizer steps until the peak."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the adapter's matrices."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them."""


@dataclass(frozen=True)
class SftConfig:
    """Options of `ganglion train sft`. An interrupted run is continued by giving the same command again."""

    base: str = "offline:qwen2_vl"
    """Model to fine-tune: a hub name, a checkpoint folder, or offline:qwen2_vl (small, made on this machine)."""
    task: str | None = None
    """What the data teaches, e.g. exo_assist; required."""
    data: Path | None = None
    """The task's data file (JSON list of rows); required."""
    out: Path | None = None
    """Folder for adapter, history and model card; default runs/TASK."""
    quantization: str = "nf4"
    """How the frozen base is kept: nf4 (4 bits, double quantization: QLoRA) or none."""
    lora: LoraOptions = field(default_factory=LoraOptions)
    """The adapter."""
    optim: OptimOptions = field(default_factory=OptimOptions)
    """Optimizer and schedule."""
    epochs: float = 1.0
    """Passes over the data; ignored where steps are given."""
    steps: int | None = None
    """Optimizer steps; overrides epochs."""
    batch_size: int = 8
    """Rows per forward pass."""
    accumulation: int = 1
    """Forward passes per optimizer step."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    max_pixels: int | None = None
    """Upper limit of pixels per image after resizing; default is the checkpoint's own."""
    image_memory_mb: int = 2048
    """Memory for images kept preprocessed; those beyond it are preprocessed each time."""
    seed: int = 0
    """Fixes adapter initialization, data order and dropout."""
    threads: int | None = None
    """CPU threads; default is torch's choice. Bit-identical weights need the same number."""
    save_steps: int = 100
    """Optimizer steps between checkpoints."""
    logging_steps: int = 10
    """Optimizer steps between entries of the history."""
    force: bool = False
    """Discard another run that is in the folder and start anew."""


def checked(config: SftConfig) -> tuple[str, Path, Path]:
    """Task name, data file and output folder of a config whose values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    if config.task is None:
        raise InputError("no task given", remedy="add --task, e.g. --task exo_assist")
    if config.data is None:
        raise InputError("no data given", remedy="add --data FILE.json, e.g. from 'ganglion data synth'")
    get_task(config.task)
    _one_of("quantization", config.quantization, QUANTIZATIONS)
    _one_of("optim.schedule", config.optim.schedule, SCHEDULES)
    for name in ("batch_size", "accumulation", "save_steps", "logging_steps"):
        _at_least(name, getattr(config, name), 1)
    for name in ("steps", "threads", "max_pixels"):
        if getattr(config, name) is not None:
            _at_least(name, getattr(config, name), 1)
    _at_least("lora.r", config.lora.r, 1)
    _at_least("optim.warmup_steps", config.optim.warmup_steps, 0)
    _at_least("seed", config.seed, 0)
    _between("lora.dropout", config.lora.dropout, 0, 0.9)
    _between("optim.lr", config.optim.lr, 1e-9, 1)
    if config.steps is None and not config.epochs > 0:
        raise InputError(f"--epochs is {config.epochs}", remedy="give a positive number, or --steps")
    return config.task, config.data, config.out or Path("runs") / config.task


def resolved(config: SftConfig) -> dict[str, Any]:
    """The whole config as plain data, readable as a recipe again."""
    values = asdict(config)
    del values["force"]
    values["optim"]["betas"] = list(config.optim.betas)
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def binding(config: SftConfig) -> dict[str, Any]:
    """The part of `resolved` that decides the weights: two runs may share a folder only where it is equal."""
    return {key: value for key, value in resolved(config).items() if key not in _FREE}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"--{name} is {value!r}", remedy=f"use one of {', '.join(allowed)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"--{name} is {value}", remedy=f"give {least} or more")


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"--{name} is {value}", remedy=f"give {low:g} to {high:g}")
