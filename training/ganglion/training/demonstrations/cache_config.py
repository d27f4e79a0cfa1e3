"""What `ganglion cache` can be told. Light to import; `check` names what is out of range."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError

_PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class CacheConfig:
    """Options of `ganglion cache`. Give an interrupted command again to go on."""

    data: Path
    """The set of episodes."""
    out: Path | None = None
    """Folder for the features; default is the set's name with .features behind it."""
    base: str = "offline:qwen2_vl"
    """Frozen VLM that sees the views: a hub name, a checkpoint folder, or offline:qwen2_vl."""
    layer: int | None = None
    """Text layer of the VLM whose hidden states are the VL features; 0 = embeddings, default is half its depth."""
    max_pixels: int | None = None
    """Upper limit of pixels per image after resizing; default is the checkpoint's own."""
    precision: str = "auto"
    """What the VLM computes in: float32, bfloat16, float16, or auto: by hardware and width."""
    stored: str = "auto"
    """What features are stored as: float32, bfloat16, float16, or auto: as computed, which loses nothing."""
    batch_size: int = 16
    """Views per forward pass."""
    workers: int = 0
    """Processes that decode images beside each one that computes."""
    shard_mb: float = 256.0
    """Size of a shard in MiB; a killed command loses less than one of each process."""
    threads: int | None = None
    """CPU threads; default is torch's choice."""
    force: bool = False
    """Discard the features that are in the folder, whatever they are of."""


def check(config: CacheConfig) -> None:
    """See that the values make sense.

    Raises:
        InputError: naming the option and what it takes.
    """
    for name in ("precision", "stored"):
        if (value := getattr(config, name)) not in _PRECISIONS:
            raise InputError(f"--{name} is {value!r}", remedy=f"use one of {', '.join(_PRECISIONS)}")
    if not config.shard_mb > 0:
        raise InputError(f"--shard_mb is {config.shard_mb}", remedy="give a number above 0")
    for name, low in (("batch_size", 1), ("workers", 0), ("threads", 1)):
        if (value := getattr(config, name)) is not None and value < low:
            raise InputError(f"--{name} is {value}", remedy=f"give {low} or more")
