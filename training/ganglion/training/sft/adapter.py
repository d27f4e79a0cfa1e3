"""Adding a fresh LoRA adapter to a base."""

from __future__ import annotations

from typing import Any

from ganglion.core.errors import InputError
from ganglion.training.sft.config import LoraOptions


def add_adapter(model: Any, options: LoraOptions) -> Any:
    """The model with a trainable adapter (a PeftModel), its base frozen; weights drawn from torch's generator.

    Raises:
        InputError: target_modules name no layer of this model.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(
            f"--lora.target_modules: {str(error).splitlines()[0]:.160}", remedy='use "all-linear" or name layers'
        ) from error
