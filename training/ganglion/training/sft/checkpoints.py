"""Checkpoints that are whole or not there: sealed with a hash of every file, found again newest first.

checkpoints/checkpoint-STEP/ (what transformers.Trainer saves)  checkpoints/checkpoint-STEP/seal.json
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import InputError
from ganglion.core.paths import write_json

SEAL = "seal.json"
_PREFIX = "checkpoint-"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of that step belongs."""
    return folder / f"{_PREFIX}{step}"


def seal(checkpoint: Path) -> None:
    """Note the hash of each file, as the last act of writing a checkpoint."""
    write_json(checkpoint / SEAL, {p.name: sha256_file(p) for p in sorted(checkpoint.iterdir()) if p.is_file()})


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint with all its files as they were sealed; None where there is none."""
    return next((checkpoint for checkpoint in _newest_first(folder) if _is_whole(checkpoint)), None)


def named(folder: Path, name: str) -> Path:
    """The checkpoint of that name, such as "checkpoint-200"; those after it are removed, since the run goes on from it.

    Raises:
        InputError: it is not there or not whole.
    """
    found = {path.name: path for path in _newest_first(folder) if _is_whole(path)}
    if name not in found:
        raise InputError(f"no whole checkpoint {name!r}", where=folder, remedy=f"use latest or one of {sorted(found)}")
    for path in _newest_first(folder):
        if _step(path) > _step(found[name]):
            shutil.rmtree(path)
    return found[name]


def keep_newest(folder: Path, count: int, also: int | None = None) -> None:
    """Remove all but the `count` newest checkpoints and the one of step `also`, and what is half-written."""
    for old in _newest_first(folder)[count:]:
        if _step(old) != also:
            shutil.rmtree(old, ignore_errors=True)
    for leftover in folder.glob(f".{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))


def _is_whole(checkpoint: Path) -> bool:
    try:
        hashes: dict[str, str] = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        return all(sha256_file(checkpoint / name) == expected for name, expected in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False
