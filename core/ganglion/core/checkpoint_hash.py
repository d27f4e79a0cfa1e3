"""What identifies the weights of a checkpoint, wherever a copy of it lies."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


def checkpoint_hash(folder: Path) -> str:
    """Sha256 (hex) over the weights and config.json of a checkpoint's folder: the same for every copy of it."""
    whole = hashlib.sha256()
    for file in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        facts = file.stat()
        whole.update(f"{file.name} {_digest(file, facts.st_size, facts.st_mtime_ns)}\n".encode())
    return whole.hexdigest()


@functools.lru_cache(256)
def _digest(file: Path, size: int, modified_ns: int) -> str:
    """Of a file as it was then; a run asks for its base's several times, and a base has gigabytes."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
