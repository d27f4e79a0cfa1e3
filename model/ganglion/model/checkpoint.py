"""Which checkpoint a user means by a name, where its files are, and what identifies its weights."""

from __future__ import annotations

import re
from pathlib import Path

from ganglion.core.checkpoint_hash import checkpoint_hash
from ganglion.core.errors import GanglionError, InputError

OFFLINE = "offline:"
HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def resolve_base(name: str) -> str:
    """Turn a base model's name into what `from_pretrained` takes.

    Args:
        name: `offline:FAMILY` (built on first use, see ganglion.model.offline; `offline:FAMILY?untrained` leaves out
            its training), a local checkpoint folder, the folder of a policy whose backbone learned, or a hub name such
            as `Qwen/Qwen2-VL-2B-Instruct`.

    Raises:
        InputError: the folder is missing or holds no checkpoint, or the name is none of these.
    """
    if name.startswith(OFFLINE):
        from ganglion.model.offline import offline_base

        family, _, option = name[len(OFFLINE) :].partition("?")
        if option not in ("", "untrained"):
            raise InputError(f"unknown option {option!r}", where=name, remedy=f"use {OFFLINE}{family}?untrained")
        return str(offline_base(family, pretext=not option))
    path = Path(name).expanduser()
    if path.exists():
        return str(_checked_folder(path))
    if HUB_NAME.fullmatch(name):
        return name
    raise InputError(
        "no such checkpoint folder",
        where=name,
        remedy=f"give a folder, a hub name like Qwen/Qwen2-VL-2B-Instruct, or {OFFLINE}qwen2_vl",
    )


def _checked_folder(path: Path) -> Path:
    from ganglion.model.backbone.grown import grown_base, is_grown

    if is_grown(path):
        return grown_base(path)
    if not (path / "config.json").is_file():
        raise InputError("holds no config.json", where=path, remedy="give a Hugging Face checkpoint folder")
    if not any(path.glob("*.safetensors")):
        raise InputError("holds no *.safetensors weights", where=path, remedy="save the model with save_pretrained")
    return path


def checkpoint_folder(path: str | Path) -> Path:
    """The local folder of a resolved base; a hub checkpoint is taken from the hub's cache, or downloaded.

    Raises:
        GanglionError: a hub checkpoint is neither cached nor reachable.
    """
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))
    except Exception as error:  # the hub client raises half a dozen unrelated classes, some of them ValueError
        reason = str(error).strip().splitlines()[0]
        raise GanglionError(
            f"can't be read from the hub: {reason:.160}",
            where=path,
            remedy="check name, network and HF_HUB_OFFLINE, or give a local folder",
        ) from error


def base_hash(path: str | Path) -> str:
    """`checkpoint_hash` of a resolved base."""
    return checkpoint_hash(checkpoint_folder(path))
