"""Letting a part of a backbone learn: LoRA in the text layers that are used, or the last of these layers themselves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ganglion.core.errors import InputError
from ganglion.model.backbone.backbone import Backbone, multimodal
from ganglion.model.backbone.options import FinetuneOptions
from ganglion.model.tuning import add_lora

Groups = dict[str, list[nn.Parameter]]


def finetune(backbone: Backbone, options: FinetuneOptions) -> Groups:
    """Let the part of a fresh backbone learn that the options name.

    What learns is float32: steps as small as a backbone's learning rates round to nothing in bfloat16.

    Returns:
        its parameters, by what they want as a learning rate: "vl_lora" or "vl" for the text layers, and "vision".

    Raises:
        InputError: nothing would learn, or target_modules name no layer.
    """
    if options.mode == "none":
        return {}
    if not (options.vision or (backbone.facts.vl_layer and (options.mode == "lora" or options.layers))):
        raise InputError(
            f"nothing is to learn: layer {backbone.facts.vl_layer}, {options.layers} layers, no vision",
            where="backbone to finetune",
            remedy="choose a higher layer, more layers, or let vision learn",
        )
    text = "vl_lora" if options.mode == "lora" else "vl"
    if options.mode == "lora":
        _add_adapter(backbone, options)
    else:
        _unfreeze(backbone, options)
    for unused in _unused_mergers(backbone):
        unused.requires_grad_(False)
    groups: Groups = {text: [], "vision": []}
    for name, parameter in learning(backbone):
        groups["vision" if "visual." in name else text].append(parameter)
    backbone.tuned = options
    return {name: parameters for name, parameters in groups.items() if parameters}


def learning(backbone: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    """Names in the whole model and parameters of what learns."""
    return ((name, value) for name, value in backbone.model.named_parameters() if value.requires_grad)


def merge_adapter(backbone: Backbone) -> None:
    """Put what LoRA learned into the weights: the same features from a plain model, which can be exported."""
    if hasattr(backbone.model, "merge_and_unload"):
        backbone.model = backbone.model.merge_and_unload()


def _add_adapter(backbone: Backbone, options: FinetuneOptions) -> None:
    backbone.model = add_lora(
        backbone.model,
        r=options.r,
        alpha=options.alpha,
        dropout=options.dropout,
        target_modules=options.target_modules,
        vision=options.vision,
    ).train(backbone.training)


def _unfreeze(backbone: Backbone, options: FinetuneOptions) -> None:
    model, used = multimodal(backbone.model), backbone.facts.vl_layer
    last = model.language_model.layers[max(used - options.layers, 0) :]
    for part in (last, model.visual) if options.vision else (last,):
        part.requires_grad_(True).float()
    backbone.autocast = backbone.dtype != torch.float32


def _unused_mergers(backbone: Backbone) -> Iterator[nn.Module]:
    """What Qwen3-VL's tower would add after text layers that were dropped; nothing teaches it."""
    mergers = getattr(multimodal(backbone.model).visual, "deepstack_merger_list", ())
    yield from mergers[backbone.facts.vl_layer :]
