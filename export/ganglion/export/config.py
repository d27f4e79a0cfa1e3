"""What `ganglion export` can be told. Light to import."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ganglion.core.bundle import MANIFEST
from ganglion.core.errors import InputError

PRECISIONS = ("float32", "int8", "int4")


@dataclass(frozen=True)
class PrecisionOptions:
    """What products with weights compute in, part by part: float32, int8 or int4."""

    language: str = "float32"
    """The VLM's decoder, of a language model all of it."""
    vision: str = "float32"
    """The VLM's vision tower."""


@dataclass(frozen=True)
class ExportConfig:
    """Options of `ganglion export`. At least one of adapter and policy must be given."""

    adapter: Path | None = None
    """Folder that `ganglion train sft` wrote: its VLM goes in, merged. Or a bundle, to take its VLM over as it is."""
    policy: Path | None = None
    """Folder that `ganglion train policy` wrote. Or a bundle, to take its policy over as it is, bit by bit."""
    out: Path = Path("bundle")
    """The bundle's folder."""
    base: str | None = None
    """Where the adapter's base is now (folder or name); default is where it was in training."""
    precision: PrecisionOptions = field(default_factory=PrecisionOptions)
    """What the exported model computes in."""
    data: Path | None = None
    """Data file of the adapter's task, not trained on: each stage is scored on it, and gated by what it loses."""
    data_limit: int | None = None
    """Score on the first rows only; default all."""
    parity_samples: int = 4
    """Fresh inputs that the parity of each stage is measured on; of --data as many rows again."""
    gate: bool = True
    """Stop where a stage is further from the one before it than its gate allows. False exports it all the same."""
    force: bool = False
    """Replace a bundle that is there."""


def checked(config: ExportConfig) -> None:
    """Refuse what can't work, before any of it is done.

    Raises:
        InputError: nothing to export, an option makes no sense, or the target is taken.
    """
    if config.adapter is None and config.policy is None:
        raise InputError("nothing to export", remedy="give --adapter DIR, --policy DIR or both")
    if config.parity_samples < 1:
        raise InputError(f"--parity_samples is {config.parity_samples}", remedy="give 1 or more")
    if config.data_limit is not None and config.data_limit < 1:
        raise InputError(f"--data_limit is {config.data_limit}", remedy="give 1 or more")
    if config.data is not None and config.adapter is None:
        raise InputError("--data given without --adapter", remedy="leave it out: it is rows of an adapter's task")
    for name, value in asdict(config.precision).items():
        if value not in PRECISIONS:
            raise InputError(f"--precision.{name} is {value!r}", remedy=f"use one of {list(PRECISIONS)}")
    out = config.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise InputError("exists and is no bundle", where=out, remedy="choose another --out")
    if not config.force:
        raise InputError("exists already", where=out, remedy="choose another --out, or --force to replace it")


def resolved(config: ExportConfig) -> dict[str, Any]:
    """The whole config as plain data, readable as a recipe again."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
