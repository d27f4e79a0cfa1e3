"""A policy's backbone as a base of its own: the whole checkpoint, with what it learned put into its weights.

Named by the policy's folder wherever a base is named, it can be looked through by a cache, or by other policies, for
which it stays frozen. It is made once, and cached under what identifies the base and what was learned.
"""

from __future__ import annotations

from pathlib import Path

from ganglion.core.bundle import sha256_tree
from ganglion.core.errors import InputError
from ganglion.core.paths import cache_dir, read_json, written_aside
from ganglion.model.backbone.tuned import ABOUT, FILES, TUNED


def is_grown(folder: Path) -> bool:
    """Whether a folder is of a policy whose backbone learned."""
    return (folder / TUNED / ABOUT).is_file()


def grown_base(folder: Path) -> Path:
    """The checkpoint of a policy's backbone, made if it isn't cached.

    Args:
        folder: of the policy.

    Raises:
        InputError: what was learned, or the base it was learned on, is missing, damaged or another one.
        GanglionError: the cache can't be written.
    """
    from ganglion.model.checkpoint import base_hash, resolve_base

    about = read_json(folder / TUNED / ABOUT, "give a folder that 'ganglion train policy' wrote")
    path = resolve_base(about["base"])
    if base_hash(path) != about["base_hash"]:
        raise InputError(
            f"learned on another base than {about['base']!r} is now", where=folder, remedy="restore that base"
        )
    out = cache_dir() / "grown" / f"{about['base_hash'][:16]}-{sha256_tree(folder / TUNED)[:16]}"
    if not out.is_dir():
        with written_aside(out) as aside:
            _write(folder / TUNED, path, aside)
    return out


def _write(tuned: Path, base: str, out: Path) -> None:
    from ganglion.model.processor import load_processor
    from ganglion.model.tensor_file import open_tensors
    from ganglion.model.vlm import load_vlm

    model = load_vlm(base, device="cpu")
    if (tuned / "adapter_config.json").is_file():
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(tuned)).merge_and_unload()
    else:
        values, _ = open_tensors(tuned / FILES["full"])
        if missing := model.load_state_dict(values, strict=False).unexpected_keys:
            raise InputError(f"{missing[0]} is no part of {base}", where=tuned, remedy="train again")
    model.save_pretrained(out)
    load_processor(base).save_pretrained(out)
