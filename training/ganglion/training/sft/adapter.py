"""Adding a LoRA adapter to a base: a fresh one, or one that was trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.model.tuning import add_lora
from ganglion.training.evaluate.adapter import read_run
from ganglion.training.sft.config import LoraOptions


def add_adapter(model: Any, options: LoraOptions) -> Any:
    """The model with a fresh trainable adapter: see `add_lora`."""
    return add_lora(
        model,
        r=options.r,
        alpha=options.alpha,
        dropout=options.dropout,
        target_modules=options.target_modules,
        vision=options.vision,
    )


def continue_adapter(model: Any, folder: Path, options: LoraOptions, base_hash: str) -> Any:
    """The model with the adapter of `folder`, trainable, its dropout as `options` say.

    Args:
        model: the base, as loaded.
        folder: what `ganglion train sft` wrote.
        options: must agree with the adapter in rank, alpha and targets.
        base_hash: of the base.

    Raises:
        InputError: the folder holds no finished adapter, or one for another base, or of another form.
    """
    from peft import LoraConfig, PeftModel

    run, config = read_run(folder), LoraConfig.from_pretrained(folder)
    if run.get("base_hash") != base_hash:
        raise InputError(
            f"is an adapter of another base ({run.get('base')}, sha256 {run.get('base_hash')!s:.12})",
            where=folder,
            remedy="give that base with --base, or another --init_adapter",
        )
    for name, ours, theirs in (("r", options.r, config.r), ("alpha", options.alpha, config.lora_alpha)):
        if ours != theirs:
            raise InputError(
                f"has {name} {theirs}, the run {ours}", where=folder, remedy=f"give --lora.{name} {theirs}"
            )
    config.lora_dropout, config.inference_mode = options.dropout, False
    return PeftModel.from_pretrained(model, folder, is_trainable=True, config=config)
