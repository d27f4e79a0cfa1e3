"""What fine-tuning does to a model, of instructions and of policies alike: an adapter put on, layers computed again."""

from __future__ import annotations

from typing import Any

from ganglion.core.errors import InputError

_VISION = r".*visual\..*"


def add_lora(model: Any, *, r: int, alpha: float, dropout: float, target_modules: str | list[str], vision: bool) -> Any:
    """The model with a trainable adapter (a PeftModel), its base frozen; weights drawn from torch's generator.

    Args:
        model: from load_vlm.
        r: rank.
        alpha: the adapter's output is scaled by alpha / r.
        dropout: share of its inputs dropped in training.
        target_modules: "all-linear" (all but the output head), one regular expression, or a list of name endings.
        vision: adapt the vision tower, too.

    Raises:
        InputError: target_modules name no layer of this model.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules,
        exclude_modules=None if vision else _VISION,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"target_modules {target_modules!r}: {reason:.120}", remedy='use "all-linear" or name layers'
        ) from error


def checkpoint_layers(model: Any) -> None:
    """Keep the inputs of layers alone for the backward pass and compute the rest again (Chen et al. 2016).

    The library's own switch may also make every input embedding ask for gradients, which only reentrant checkpointing
    needs. Qwen2-VL's and 2.5-VL's patches are one: a frozen vision tower would run its whole backward pass for nothing.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()
