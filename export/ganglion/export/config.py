"""What `ganglion export` can be told. Light to import."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganglion.core.bundle import MANIFEST
from ganglion.core.errors import InputError


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
    parity_data: Path | None = None
    """Data file of the adapter's task to measure parity on; default is made-up images and sentences."""
    parity_samples: int = 4
    """Fresh inputs that the parity of each stage is measured on."""
    force: bool = False
    """Replace a bundle that is there."""


def checked(config: ExportConfig) -> None:
    """Refuse what can't work, before any of it is done.

    Raises:
        InputError: nothing to export, or the target is taken.
    """
    if config.adapter is None and config.policy is None:
        raise InputError("nothing to export", remedy="give --adapter DIR, --policy DIR or both")
    if config.parity_samples < 1:
        raise InputError(f"--parity_samples is {config.parity_samples}", remedy="give 1 or more")
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
