"""What `ganglion train policy` can be told. Light to import; `checked` names what is out of range."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError

SYNTHETIC = "synthetic"
_SIZES = ("tiny", "slim", "small", "base")
_PRECISIONS = ("auto", "float32", "bfloat16")
# None of these changes what is learned: a run may be continued with others.
_FREE = ("out", "threads", "force", "save_steps")


@dataclass(frozen=True)
class PolicyTrainConfig:
    """Options of `ganglion train policy`. An interrupted run is continued by giving the same command again."""

    data: str = SYNTHETIC
    """What to imitate: "synthetic" (the needle robot) or a folder of OCT volumes (.npz with data and pos)."""
    out: Path = Path("runs/policy")
    """Folder for weights, robot spec, normalization, history and metrics."""
    size: str = "small"
    """Encoder: tiny (0.3 M parameters), slim (0.4 M), small (3 M) or base (33 M)."""
    base: str = "offline:qwen2_vl"
    """Frozen VLM that sees the camera frames: a hub name, a checkpoint folder, or offline:qwen2_vl."""
    vl_layer: int | None = None
    """Text layer of the VLM whose hidden states are the VL features; 0 = embeddings, default is half its depth."""
    instruction: str = "Move to the bright mark and touch the surface."
    """The goal in words, read by the VLM beside the frame."""
    frames: int = 2400
    """Camera frames that are rendered and seen by the VLM, once each."""
    vl_age_ms: tuple[float, float] = (0.0, 150.0)
    """Range of ages of the VL features that training draws from, in milliseconds; it should hold what serving shows."""
    steps: int = 200
    """Optimizer steps."""
    batch_size: int = 6
    """Sensor sequences per step, each a bit longer than a window and read often."""
    lr: float = 1e-3
    """Peak learning rate of AdamW; warm-up, then cosine to 0."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices."""
    warmup_steps: int = 20
    """Steps until the peak."""
    eval_count: int = 200
    """Windows of data never trained on that the policy is scored on; with volumes, each held-back one counts."""
    seed: int = 0
    """Fixes data, split, weights and their order."""
    threads: int | None = None
    """CPU threads; default is torch's choice. Bit-identical weights need the same number."""
    precision: str = "auto"
    """Of matrix products: float32, bfloat16, or auto: bfloat16 where the CPU has instructions for it."""
    save_steps: int = 50
    """Steps between checkpoints."""
    logging_steps: int = 10
    """Steps between entries of the history."""
    force: bool = False
    """Discard another run that is in the folder and start anew."""


def checked(config: PolicyTrainConfig) -> PolicyTrainConfig:
    """The config, if its values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    for name, value, allowed in (("size", config.size, _SIZES), ("precision", config.precision, _PRECISIONS)):
        if value not in allowed:
            raise InputError(f"--{name} is {value!r}", remedy=f"use one of {', '.join(allowed)}")
    least = {"frames": 1, "batch_size": 1, "eval_count": 1, "save_steps": 1, "logging_steps": 1, "warmup_steps": 0}
    for name, low in {**least, "seed": 0, "steps": 1, "threads": 1, "vl_layer": 0}.items():
        value = getattr(config, name)
        if value is not None and value < low:
            raise InputError(f"--{name} is {value}", remedy=f"give {low} or more")
    if not 0 < config.lr <= 1:
        raise InputError(f"--lr is {config.lr}", remedy="give a number above 0, at most 1")
    if not 0 <= config.weight_decay <= 1:
        raise InputError(f"--weight_decay is {config.weight_decay}", remedy="give 0 to 1")
    low_ms, high_ms = config.vl_age_ms
    if not 0 <= low_ms <= high_ms <= 10_000:
        raise InputError(f"--vl_age_ms is [{low_ms}, {high_ms}]", remedy="give two ages, 0 <= low <= high <= 10000")
    if config.data != SYNTHETIC and not Path(config.data).is_dir():
        raise InputError("no such folder", where=config.data, remedy=f'correct --data, or use "{SYNTHETIC}"')
    return config


def resolved(config: PolicyTrainConfig) -> dict[str, Any]:
    """The whole config as plain data, readable as a recipe again."""
    values = asdict(config)
    del values["force"]
    return {**values, "out": str(config.out), "vl_age_ms": list(config.vl_age_ms)}


def binding(config: PolicyTrainConfig) -> dict[str, Any]:
    """The part of `resolved` that decides the weights: two runs may share a folder only where it is equal."""
    return {key: value for key, value in resolved(config).items() if key not in _FREE}
