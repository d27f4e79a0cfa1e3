"""VL features: what a sensor-fusion policy reads from the VLM for one camera frame and instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import InputError

if TYPE_CHECKING:
    import torch


class _Reached(Exception):
    """Ends a forward pass at the layer that was asked for."""


def text_depth(model: Any) -> int:
    """How many text layers a VLM has."""
    return len(_text_model(model).layers)


def vl_features(model: Any, inputs: Mapping[str, torch.Tensor], layer: int) -> torch.Tensor:
    """Hidden states after text layer `layer` for a prompt with its images; nothing above that layer is computed.

    They are the residual stream, before the final norm. Gradients flow unless the caller switches them off.

    Args:
        model: from load_vlm, possibly with an adapter.
        inputs: the processor's output for B prompts: input_ids (B, T), pixel_values, image_grid_thw, ...
        layer: 0 = embeddings with the images in place, `text_depth(model)` = after the last layer.

    Returns:
        features: float (B, T, width); positions that attention_mask leaves out are meaningless.

    Raises:
        InputError: there is no such layer.
    """
    text = _text_model(model)
    depth = len(text.layers)
    if not 0 <= layer <= depth:
        raise InputError(f"text layer {layer} does not exist", remedy=f"use 0 to {depth}")
    reached: list[torch.Tensor] = []

    # What enters the next module: with Qwen3-VL this holds the deepstack features added between layers, too.
    def catch(_module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        reached.append(args[0] if args else kwargs["hidden_states"])
        raise _Reached

    after = text.layers[layer] if layer < depth else text.norm
    hook = after.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        _multimodal(model)(**inputs, use_cache=False)
    except _Reached:
        pass
    finally:
        hook.remove()
    return reached[0]


def _multimodal(model: Any) -> Any:
    """The part of a VLM that lies below its output head, with or without a PEFT adapter around it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model


def _text_model(model: Any) -> Any:
    return _multimodal(model).language_model
