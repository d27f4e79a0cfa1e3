"""What `ganglion train sft` can be told. Light to import; `checked` names what is out of range."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ganglion.core.errors import InputError
from ganglion.core.tasks import get_task
from ganglion.training.evaluate.members import RESERVED
from ganglion.training.plain import as_plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

QUANTIZATIONS = ("nf4", "int8", "none")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
OPTIMIZERS = ("adamw", "adamw_8bit", "muon")
SCHEDULES = ("cosine", "linear", "constant")
TOO_LONG = ("error", "truncate")
REPORTS = ("none", "tensorboard", "wandb", "trackio")
_Options = TypeVar("_Options", bound="DataclassInstance")
# None of these changes what is learned: a run may be continued with others.
_FREE = (
    *("out", "threads", "workers", "force", "resume_from", "report_to", "push_to_hub", "hub_private"),
    "init_adapter",  # known by its hash
)


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
    vision: bool = True
    """Adapt the vision tower too; false leaves it as it is."""


@dataclass(frozen=True)
class OptimOptions:
    """The optimizer and its schedule."""

    name: str = "adamw"
    """adamw (fused), adamw_8bit: paged, with 8-bit states, on a GPU, or muon (Jordan et al. 2024): one momentum, made
    orthogonal; betas do nothing then, and the learning rate means what it means for adamw."""
    lr: float = 2e-4
    """Peak learning rate."""
    schedule: str = "cosine"
    """After warm-up: cosine, linear (both down to 0) or constant."""
    warmup_steps: int = 20
    """Optimizer steps until the peak."""
    warmup_ratio: float | None = None
    """Share of all steps until the peak; overrides warmup_steps."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the adapter's matrices."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them."""


@dataclass(frozen=True)
class ValidationOptions:
    """Scoring on rows that are not learned from, while training."""

    data: Path | None = None
    """Data file to validate on."""
    split: float = 0.0
    """Share of the training file to validate on instead; rows that share an image or a task stay together."""
    steps: int | None = None
    """Optimizer steps between validations; default: only at the end."""
    metric: str = "loss"
    """What is best: loss (of the answers, lower is better) or one of the task's metrics (higher, by generation)."""
    rows: int = 200
    """Most rows that a task's metric is taken on."""
    keep_best: bool = False
    """Leave the adapter that validated best, not the last one."""
    patience: int | None = None
    """Stop after so many validations without a better one; default: never."""


@dataclass(frozen=True)
class Stage:
    """A stage of a curriculum: goes on from the stage before, with a new optimizer. What is not given is the run's."""

    name: str
    """Names its folder."""
    data: Path | None = None
    """Its data file."""
    lr: float | None = None
    """Its peak learning rate."""
    schedule: str | None = None
    """Its schedule."""
    warmup_steps: int | None = None
    """Its warm-up."""
    epochs: float | None = None
    """Its passes over the data."""
    steps: int | None = None
    """Its optimizer steps; overrides epochs."""
    batch_size: int | None = None
    """Its rows per forward pass."""


@dataclass(frozen=True)
class Variant:
    """A member of an ensemble. What is not given is the run's."""

    name: str
    """Names its folder."""
    seed: int | None = None
    """Its seed."""
    data: Path | None = None
    """Its data file."""
    lr: float | None = None
    """Its peak learning rate."""
    r: int | None = None
    """Its rank."""
    steps: int | None = None
    """Its optimizer steps."""


@dataclass(frozen=True)
class SftConfig:
    """Options of `ganglion train sft`. An interrupted run is continued by giving the same command again."""

    base: str = "offline:qwen2_vl"
    """Model to fine-tune: a hub name, a checkpoint folder, or offline:qwen2_vl (small, made on this machine). For a
    text-only task it may be any causal language model; offline:qwen2 is a small one.
    offline:qwen3_vl_256 is one that sees small signs in their places."""
    task: str | None = None
    """What the data teaches, e.g. exo_assist; required."""
    data: Path | None = None
    """The task's data file (JSON list of rows); required."""
    task_start: int | None = None
    """gui_step: first task to learn from, by its position in the data file, from 0."""
    task_end: int | None = None
    """gui_step: the task after the last one to learn from, by its position in the data file."""
    out: Path | None = None
    """Folder for adapter, history and model card; default runs/TASK."""
    init_adapter: Path | None = None
    """Adapter folder to start from, trained on the same base with the same rank and targets."""
    quantization: str = "nf4"
    """How the frozen base is kept: nf4 (4 bits, double quantization: QLoRA), int8, or none."""
    precision: str = "auto"
    """Of activations and of weights that are not quantized: float32, bfloat16, float16, or auto: bfloat16 where the
    hardware has it and gains by it, else float32 on a CPU and float16 on a GPU."""
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
    max_length: int | None = None
    """Most tokens of a row, images included; default is what the model takes."""
    too_long: str = "error"
    """What becomes of a longer row: error, before training, or truncate, which cuts the end off its answers and says
    how many rows and tokens were cut."""
    group_by_length: bool = False
    """Batches of rows of like length: less padding, less random order."""
    packing: bool = False
    """Text-only rows one behind another, up to max_length: no padding. batch_size then counts packs."""
    workers: int = 0
    """Processes that read and preprocess rows ahead; 0 does it in the training process."""
    max_pixels: int | None = None
    """Upper limit of pixels per image after resizing; default is the checkpoint's own."""
    image_memory_mb: int = 2048
    """Memory for images kept preprocessed; those beyond it are preprocessed each time."""
    seed: int = 0
    """Fixes adapter initialization, data order and dropout."""
    threads: int | None = None
    """CPU threads; default is torch's choice. Bit-identical weights need the same number."""
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    """Scoring while training."""
    stages: list[Stage] = field(default_factory=list)
    """A curriculum: stages trained one after another; empty for a single one."""
    variants: list[Variant] = field(default_factory=list)
    """An ensemble: each is trained in its own folder, and 'ganglion evaluate' lets them vote; empty for one model."""
    save_steps: int = 100
    """Optimizer steps between checkpoints."""
    logging_steps: int = 10
    """Optimizer steps between entries of the history."""
    estimate: bool = False
    """Say what memory and time the run would take, and do nothing else: no weights are loaded."""
    estimate_on: str = "auto"
    """For which device: auto (this machine), cpu, a100-40gb, h100, rtx-4090, rtx-3090 or jetson-agx-orin-64gb."""
    resume_from: str = "latest"
    """Where an interrupted run goes on: latest, or the name of one of its checkpoints, such as checkpoint-200."""
    report_to: str = "none"
    """Where the loss is shown beside history.json: none, tensorboard, wandb or trackio."""
    push_to_hub: str | None = None
    """Hub repository to upload the finished adapter to, e.g. me/exo; needs HF_TOKEN."""
    hub_private: bool = True
    """Make that repository private if it is new."""
    force: bool = False
    """Discard another run that is in the folder and start anew."""


def checked(config: SftConfig) -> tuple[str, Path, Path]:
    """Task name, data file and output folder of a config whose values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    if config.task is None:
        raise InputError("no task given", remedy="add --task, e.g. --task exo_assist")
    check_values(config)
    files = [single.data for single in singles(config)]
    if None in files or files[0] is None:
        raise InputError("no data given", remedy="add --data FILE.json, e.g. from 'ganglion data synth'")
    return config.task, files[0], config.out or Path("runs") / config.task


def check_values(config: SftConfig) -> None:
    """Check what is given; an estimate needs no more.

    Raises:
        InputError: naming the option and what it takes.
    """
    if config.task is not None:
        get_task(config.task)
    _check_names("stages", [stage.name for stage in config.stages])
    _check_names("variants", [variant.name for variant in config.variants], RESERVED)
    for single in singles(config):
        _check_choices(single)
        _check_numbers(single)
        _check_validation(single.validation)


def singles(config: SftConfig) -> list[SftConfig]:
    """The config of every single run: of each variant, and of each stage in it."""
    variants = [of_variant(config, variant) for variant in config.variants] or [config]
    return [run for part in variants for run in ([of_stage(part, stage) for stage in part.stages] or [part])]


def of_stage(config: SftConfig, stage: Stage) -> SftConfig:
    """The run's config with what the stage changes."""
    optim = _changed(config.optim, lr=stage.lr, schedule=stage.schedule, warmup_steps=stage.warmup_steps)
    if stage.warmup_steps is not None:
        optim = replace(optim, warmup_ratio=None)
    if stage.epochs is not None:
        config = replace(config, steps=None)
    return _changed(
        replace(config, stages=[], optim=optim),
        **{name: getattr(stage, name) for name in ("data", "epochs", "steps", "batch_size")},
    )


def of_variant(config: SftConfig, variant: Variant) -> SftConfig:
    """The run's config with what the variant changes."""
    optim, lora = _changed(config.optim, lr=variant.lr), _changed(config.lora, r=variant.r)
    return _changed(
        replace(config, variants=[], optim=optim, lora=lora),
        **{name: getattr(variant, name) for name in ("seed", "data", "steps")},
    )


def resolved(config: SftConfig) -> dict[str, Any]:
    """The whole config as plain data, readable as a recipe again."""
    values = as_plain(config)
    for name in ("force", "estimate", "estimate_on"):
        del values[name]
    return values


def binding(config: SftConfig) -> dict[str, Any]:
    """The part of `resolved` that decides the weights: two runs may share a folder only where it is equal."""
    return {key: value for key, value in resolved(config).items() if key not in _FREE}


def _changed(options: _Options, **changes: Any) -> _Options:
    return replace(options, **{name: value for name, value in changes.items() if value is not None})


def _check_choices(config: SftConfig) -> None:
    for name, value, allowed in (
        ("quantization", config.quantization, QUANTIZATIONS),
        ("precision", config.precision, PRECISIONS),
        ("optim.name", config.optim.name, OPTIMIZERS),
        ("optim.schedule", config.optim.schedule, SCHEDULES),
        ("too_long", config.too_long, TOO_LONG),
        ("report_to", config.report_to, REPORTS),
    ):
        if value not in allowed:
            raise InputError(f"--{name} is {value!r}", remedy=f"use one of {', '.join(allowed)}")


def _check_numbers(config: SftConfig) -> None:
    least = {"batch_size": 1, "accumulation": 1, "save_steps": 1, "logging_steps": 1, "workers": 0, "seed": 0}
    for name, low in {
        **least,
        "steps": 1,
        "threads": 1,
        "max_pixels": 1,
        "max_length": 2,
        "image_memory_mb": 0,
        "task_start": 0,
        "task_end": 1,
    }.items():
        _at_least(name, getattr(config, name), low)
    _at_least("lora.r", config.lora.r, 1)
    _at_least("optim.warmup_steps", config.optim.warmup_steps, 0)
    _between("lora.alpha", config.lora.alpha, 1e-6, 1e38)
    _between("lora.dropout", config.lora.dropout, 0, 0.9)
    _between("optim.lr", config.optim.lr, 1e-9, 1)
    _between("optim.weight_decay", config.optim.weight_decay, 0, 1)
    _between("optim.max_grad_norm", config.optim.max_grad_norm, 0, 1e6)
    _between("optim.warmup_ratio", config.optim.warmup_ratio, 0, 0.99)
    for beta in config.optim.betas:
        _between("optim.betas", beta, 0, 0.99999)
    if config.steps is None and not config.epochs > 0:
        raise InputError(f"--epochs is {config.epochs}", remedy="give a positive number, or --steps")


def _check_validation(options: ValidationOptions) -> None:
    _between("validation.split", options.split, 0, 0.9)
    for name in ("steps", "patience", "rows"):
        _at_least(f"validation.{name}", getattr(options, name), 1)
    validated = options.data is not None or options.split > 0
    if options.data is not None and options.split > 0:
        raise InputError("--validation.data and --validation.split are both given", remedy="take one away")
    for name, wanted in (("keep_best", options.keep_best), ("patience", options.patience), ("steps", options.steps)):
        if wanted and not validated:
            raise InputError(f"--validation.{name} needs rows to validate on", remedy="add --validation.data or .split")
    if options.patience and options.steps is None:
        raise InputError("--validation.patience needs --validation.steps", remedy="say how often to validate")


def _check_names(option: str, names: list[str], reserved: Collection[str] = ()) -> None:
    for name in names:
        if name in reserved:
            raise InputError(f"--{option}: {name!r} has a meaning of its own in reports", remedy="rename it")
        if not name or not all(c.isalnum() or c in "-_" for c in name):
            raise InputError(f"--{option}: name {name!r}", remedy="use letters, digits, - and _")
    if len(set(names)) < len(names):
        raise InputError(f"--{option}: a name is given twice", remedy="rename one")


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise InputError(f"--{name} is {value}", remedy=f"give {least} or more")


def _between(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"--{name} is {value}", remedy=f"give {low:g} to {high:g}")
