"""Loading what was trained: the base in the precision it was tuned in, with the adapter on top, never merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.training.quiet import quiet


def read_run(adapter: Path) -> dict[str, Any]:
    """run.json of an adapter folder.

    Raises:
        InputError: the folder is no finished run.
    """
    try:
        run: dict[str, Any] = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
        for key in ("task", "base", "base_hash", "quantization"):
            run[key]
    except FileNotFoundError:
        raise InputError("holds no run.json", where=adapter, remedy="give a folder 'train sft' finished") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"run.json can't be read ({error})", where=adapter, remedy="train again") from None
    return run


def load_tuned(adapter: Path, run: dict[str, Any]) -> tuple[Any, Any]:
    """The model with its adapter, in eval mode, and its processor.

    Raises:
        InputError: the base is missing or is not the one that was tuned.
    """
    quiet()
    import torch
    from peft import PeftModel

    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.model.processor import load_processor
    from ganglion.model.vlm import load_vlm

    base = resolve_base(run["base"])
    if base_hash(base) != run["base_hash"]:
        raise InputError(
            f"was trained on another {run['base']} (sha256 differs)",
            where=adapter,
            remedy="restore that base or train again",
        )
    processor = load_processor(base, run.get("max_pixels"))
    dtype = getattr(torch, run["dtype"]) if run.get("dtype") in ("float32", "bfloat16", "float16") else None
    model = load_vlm(base, quantization=None if run["quantization"] == "none" else run["quantization"], dtype=dtype)
    return PeftModel.from_pretrained(model, adapter).eval(), processor
