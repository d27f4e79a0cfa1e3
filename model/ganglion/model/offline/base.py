"""Building the offline base once, and finding it again.

    offline_base()                            Qwen2-VL with its generic pretext training, about three minutes
    offline_base("qwen2")                     a language model with its own, about three too
    offline_base("qwen3_vl", pretext=False)   random weights, for tests, about two seconds

A base is cached under a hash of everything that decides its weights: this package's source, the library versions and
the choice made. It is built aside and renamed, under a lock: a second process that wants the same waits for the first.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.paths import cache_dir, written_aside
from ganglion.model.offline.families import LANGUAGE_MODELS, PIXELS

IMAGE_FAMILIES = tuple(PIXELS)
FAMILIES = (*IMAGE_FAMILIES, *LANGUAGE_MODELS)
# What these change in a trained base can't be told from outside; a new release builds a new one.
_LIBRARIES = ("torch", "transformers", "tokenizers", "pillow", "numpy")


def offline_base(family: str = "qwen2_vl", *, pretext: bool = True) -> Path:
    """The folder of a small checkpoint of `family`, built if it isn't cached.

    Args:
        family: one of FAMILIES.
        pretext: train it on generic drawings and exercises first, a language model on exercises only; without, its
            weights are random.

    Returns:
        folder: config.json, model.safetensors, tokenizer, chat template, README.md (model card), and a processor
            where the family takes images.

    Raises:
        InputError: unknown family.
        GanglionError: the cache folder can't be written.
    """
    if family not in FAMILIES:
        raise InputError(f"unknown offline base {family!r}", remedy=f"use one of {', '.join(FAMILIES)}")
    path = cache_dir() / "offline" / f"{family}-{_identity(family, pretext)}"
    if path.is_dir():
        return path
    with _locked(path):
        if not path.is_dir():
            _remove_leftovers(path)
            from ganglion.model.offline.build import build

            with written_aside(path) as aside:
                build(family, aside, pretext=pretext)
    return path


def _identity(family: str, pretext: bool) -> str:
    """What decides the weights, as 16 hex digits."""
    whole = hashlib.sha256(f"{family} {pretext}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        # The syntax tree: comments and formatting decide nothing.
        whole.update(f"{file.name} {ast.dump(ast.parse(file.read_bytes()))}".encode())
    for name in _LIBRARIES:
        whole.update(f"{name} {version(name)}".encode())
    return whole.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`; the system frees it when its holder dies."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = open(lock, "w")  # noqa: SIM115 (held below, where its errors are not those of opening)
    except OSError as error:
        raise GanglionError(
            f"can't write: {error.strerror}", where=lock.parent, remedy="free space or set GANGLION_CACHE"
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"ganglion: waiting for another process that builds {path}", file=sys.stderr)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove_leftovers(path: Path) -> None:
    """Drop what a killed builder left; nobody else writes here while we hold the lock."""
    for folder in path.parent.glob(f".{path.name}.*"):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
