"""What `ganglion train policy` can be told. Light to import; `checked` names what is out of range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.model.backbone.options import MODES
from ganglion.model.policy.config import FUSIONS, HEADS, SIZES
from ganglion.training.plain import as_plain

SYNTHETIC = "synthetic"
PRECISIONS = ("auto", "float32", "bfloat16")
UNITS = ("step", "epoch")
# None of these changes what is learned: a run may be continued with others.
_FREE = ("out", "threads", "save_steps", "init_from", "cache")
_UNSAVED = ("force", "estimate", "estimate_on")


@dataclass(frozen=True)
class VlOptions:
    """The vision-language backbone: what it reads, and whether it learns."""

    base: str = "offline:qwen2_vl"
    """A hub name, a checkpoint folder, or offline:qwen2_vl."""
    layer: int | None = None
    """Text layer whose hidden states are the VL features; 0 = embeddings, default is half its depth."""
    max_pixels: int | None = None
    """Upper limit of pixels per image after resizing; default is the checkpoint's own."""
    finetune: str = "none"
    """none: frozen; lora: adapters in the text layers below the features; full: the last of these layers themselves."""
    layers: int = 4
    """full: how many layers below the features learn."""
    vision: bool = False
    """Let the vision tower learn, too, with a rate of its own."""
    r: int = 16
    """lora: rank."""
    alpha: float = 32.0
    """lora: its output is scaled by alpha / r."""
    dropout: float = 0.05
    """lora: share of its inputs dropped in training."""
    gradient_checkpointing: bool = False
    """Recompute the backbone's activations in the backward pass: less memory, more time."""
    age_ms: tuple[float, float] = (0.0, 150.0)
    """Range of ages of the VL features that training draws from, in milliseconds; it should hold what serving shows."""
    tell_age: bool = True
    """false hides the age from the policy, to see what knowing it is worth."""


@dataclass(frozen=True)
class OptimOptions:
    """AdamW, its learning rates by what they teach, and their schedule: warm-up, hold, cosine to a floor."""

    lr: float = 1e-4
    """Peak rate of the action expert."""
    lr_sensor: float = 5e-4
    """Peak rate of the sensor encoder."""
    lr_vl: float = 1e-5
    """Peak rate of the backbone's text layers or their adapters."""
    lr_vision: float = 5e-6
    """Peak rate of the vision tower or its adapters."""
    warmup: float = 0.03
    """Share of the steps until the peak."""
    hold: float = 0.02
    """Share of the steps at the peak."""
    lr_end: float = 1e-6
    """Rate at the end."""
    unit: str = "step"
    """What the rates change by: step or epoch."""
    rewarm_steps: int = 0
    """Steps in which rates grow back after an interruption (ReWarm); 0 goes on exactly as without one."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them."""


@dataclass(frozen=True)
class PolicyTrainConfig:
    """Options of `ganglion train policy`. An interrupted run is continued by giving the same command again."""

    data: str | list[str] = SYNTHETIC
    """What to imitate: a folder of episodes, a list of them, "synthetic" (the needle robot), or OCT volumes (.npz)."""
    out: Path = Path("runs/policy")
    """Folder for weights, robot spec, normalization, history and metrics."""
    size: str = "small"
    """Encoder: tiny (0.3 M parameters), slim (0.4 M), small (3 M) or base (33 M)."""
    fusion: str = "concat"
    """How the sensor meets the rest: concat, cross_attention, gated, or none, which reads no sensor."""
    head: str = "regression"
    """regression (L1), or flow: flow matching."""
    flow_steps: int = 10
    """flow: Euler steps from noise to action."""
    vl: VlOptions = field(default_factory=VlOptions)
    """The backbone."""
    cache: str | list[str] = field(default_factory=list)
    """VL features that 'ganglion cache' wrote, one folder for each of --data; no image is read and no backbone run."""
    instruction: str = "Move to the bright mark and touch the surface."
    """Synthetic: the goal in words. Recorded episodes have their own."""
    frames: int = 2400
    """Synthetic: camera frames that are rendered and seen by the backbone, once each."""
    steps: int | None = None
    """Optimizer steps; overrides epochs."""
    epochs: float = 1.0
    """Passes over the data; ignored where steps are given."""
    batch_size: int = 6
    """Sensor sequences per forward pass of a process; of synthetic and OCT data each is read several times."""
    accumulation: int = 1
    """Forward passes per optimizer step."""
    optim: OptimOptions = field(default_factory=OptimOptions)
    """Optimizer and schedule."""
    sensor: bool = True
    """false takes every sensor for absent, as the first of two stages does; the weights are there and go on."""
    sensor_groups: list[str] = field(default_factory=list)
    """Channel groups that are felt, by name; default is all of them. Others are taken for absent."""
    state: bool = True
    """false takes the robot's state for unknown."""
    init_from: Path | None = None
    """Policy folder whose weights to start from, of the same shape: the stage before."""
    sensor_loss_weight: float = 2.0
    """What the loss of a moment with a sensor counts, beside 1 of one without."""
    sensor_share: float | None = None
    """Share of moments with a sensor in an epoch, read or not, by repeating them; default is as they come."""
    sensor_dropout: float = 0.0
    """Share of moments in training whose sensor is taken for absent."""
    validation_share: float = 0.1
    """Share of recorded moments, by sessions, to choose the best weights by."""
    test_share: float = 0.1
    """Share of recorded moments, by sessions, to score the result on."""
    validation_steps: int | None = None
    """Steps between validations; default: none but the last."""
    eval_count: int = 200
    """Windows of data never trained on that the policy is scored on; with volumes, each held-back one counts."""
    seed: int = 0
    """Fixes data, split, weights and their order."""
    threads: int | None = None
    """CPU threads; default is torch's choice. Bit-identical weights need the same number."""
    precision: str = "auto"
    """Of matrix products: float32, bfloat16, or auto: bfloat16 where the hardware has instructions for it."""
    save_steps: int = 50
    """Steps between checkpoints."""
    logging_steps: int = 10
    """Steps between entries of the history."""
    force: bool = False
    """Discard another run that is in the folder and start anew."""
    estimate: bool = False
    """Say what memory and time the run would take, and do nothing else: no weights are loaded."""
    estimate_on: str = "auto"
    """For which device: auto (this machine), cpu, a100-40gb, h100, rtx-4090, rtx-3090 or jetson-agx-orin-64gb."""

    @property
    def folders(self) -> list[str]:
        """Where the data is."""
        return [self.data] if isinstance(self.data, str) else list(self.data)

    @property
    def caches(self) -> list[str]:
        """Where the features of each folder are; empty without."""
        return [self.cache] if isinstance(self.cache, str) else list(self.cache)

    @property
    def is_synthetic(self) -> bool:
        """Whether nothing recorded is learned from."""
        return self.folders == [SYNTHETIC]


def checked(config: PolicyTrainConfig) -> PolicyTrainConfig:
    """The config, if its values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    choices: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("size", config.size, SIZES),
        ("fusion", config.fusion, FUSIONS),
        ("head", config.head, HEADS),
        ("precision", config.precision, PRECISIONS),
        ("vl.finetune", config.vl.finetune, MODES),
        ("optim.unit", config.optim.unit, UNITS),
    )
    for name, value, allowed in choices:
        if value not in allowed:
            raise InputError(f"--{name} is {value!r}", remedy=f"use one of {', '.join(allowed)}")
    _check_numbers(config)
    _check_data(config)
    return config


def _check_numbers(config: PolicyTrainConfig) -> None:
    _at_least(config, 1, "flow_steps", "frames", "steps", "batch_size", "accumulation", "validation_steps")
    _at_least(config, 1, "eval_count", "save_steps", "logging_steps", "threads")
    _at_least(config, 0, "seed", "sensor_loss_weight")
    _at_least(config.vl, 1, "layers", "r", "max_pixels", prefix="vl.")
    _at_least(config.vl, 0, "layer", prefix="vl.")
    _at_least(config.optim, 0, "rewarm_steps", "lr_end", "max_grad_norm", prefix="optim.")
    _shares(config, "sensor_dropout", "validation_share", "test_share")
    _shares(config.vl, "dropout", prefix="vl.")
    _shares(config.optim, "warmup", "hold", "weight_decay", prefix="optim.")
    for name in ("lr", "lr_sensor", "lr_vl", "lr_vision"):
        if not 0 < (rate := getattr(config.optim, name)) <= 1:
            raise InputError(f"--optim.{name} is {rate}", remedy="give a number above 0, at most 1")
    if not all(0 <= beta < 1 for beta in config.optim.betas):
        raise InputError(f"--optim.betas is {list(config.optim.betas)}", remedy="give two numbers from 0, less than 1")
    for name, number in (("epochs", config.epochs), ("vl.alpha", config.vl.alpha)):
        if not 0 < number < math.inf:
            raise InputError(f"--{name} is {number}", remedy="give a finite number above 0")
    low_ms, high_ms = config.vl.age_ms
    if not 0 <= low_ms <= high_ms <= 10_000:
        raise InputError(f"--vl.age_ms is [{low_ms}, {high_ms}]", remedy="give two ages, 0 <= low <= high <= 10000")


def _check_data(config: PolicyTrainConfig) -> None:
    if not config.folders:
        raise InputError("no data", remedy=f'add --data FOLDER, or use "{SYNTHETIC}"')
    for name in config.folders:
        if name == SYNTHETIC and len(config.folders) > 1:
            raise InputError(f"{SYNTHETIC} can't be mixed with recorded data", remedy="give one or the other")
        if name == SYNTHETIC and not config.sensor and not config.estimate:
            raise InputError(f"--sensor false means nothing for {SYNTHETIC} data", remedy="leave it out")
        if name != SYNTHETIC and not Path(name).is_dir():
            raise InputError("no such folder", where=name, remedy=f'correct --data, or use "{SYNTHETIC}"')
    if config.vl.vision and config.vl.finetune == "none":
        raise InputError("--vl.vision is true, --vl.finetune is none", remedy="give --vl.finetune lora or full")
    if config.is_synthetic and (config.sensor_groups or not config.state):
        raise InputError(f"--sensor_groups and --state mean nothing for {SYNTHETIC} data", remedy="leave them out")
    if config.caches and config.vl.finetune != "none":
        raise InputError(
            f"--cache holds what a frozen backbone says, --vl.finetune is {config.vl.finetune}",
            remedy="leave one of them out",
        )
    if config.caches and len(config.caches) != len(config.folders):
        raise InputError(f"{len(config.caches)} --cache for {len(config.folders)} --data", remedy="give one for each")


def _at_least(options: Any, low: float, *names: str, prefix: str = "") -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not value >= low:
            raise InputError(f"--{prefix}{name} is {value}", remedy=f"give {low} or more")


def _shares(options: Any, *names: str, prefix: str = "") -> None:
    for name in names:
        if not 0 <= (share := getattr(options, name)) < 1:
            raise InputError(f"--{prefix}{name} is {share}", remedy="give 0 or more, less than 1")


def resolved(config: PolicyTrainConfig) -> dict[str, Any]:
    """The whole config as plain data, readable as a recipe again."""
    return {name: value for name, value in as_plain(config).items() if name not in _UNSAVED}


def binding(config: PolicyTrainConfig) -> dict[str, Any]:
    """The part of `resolved` that decides the weights: two runs may share a folder only where it is equal."""
    return {key: value for key, value in resolved(config).items() if key not in _FREE}
