"""A model without weights: every layer's shape and kind, from its config, on torch's meta device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ganglion.core.errors import InputError
from ganglion.training.sft.estimate.plan import Plan

VISION = "visual"
_BUILT: dict[tuple[Any, ...], Skeleton] = {}  # what is tried to make a plan fit differs in other options


@dataclass(frozen=True)
class Linear:
    """One linear layer."""

    name: str
    inputs: int
    outputs: int
    bias: bool
    quantizable: bool
    """Whether bitsandbytes would replace it: all but the output head."""
    adapted: bool = False

    @property
    def in_vision(self) -> bool:
        """Whether it sees patches rather than tokens."""
        return f"{VISION}." in self.name

    @property
    def is_merger(self) -> bool:
        """Whether it sees merged patches."""
        return self.in_vision and "merger" in self.name


@dataclass(frozen=True)
class Skeleton:
    """A model's layers and parameters.

    config      its transformers config
    parameters  all weights, tied ones once
    linears     every linear layer, the output head last
    head        name of the output head
    tied        whether the head shares the embeddings' weights
    embeddings  weights of the embedding tables of tokens
    others      weights of neither linear layers nor token embeddings: norms, patch embedding, vision positions
    buffers     bytes of tables that are not weights
    adapter     sizes of the adapter's matrices
    """

    config: Any
    parameters: int
    linears: tuple[Linear, ...]
    head: str
    tied: bool
    embeddings: int
    others: int
    buffers: int
    adapter: tuple[int, ...]

    @property
    def text(self) -> Any:
        """The text config."""
        return self.config.get_text_config()

    @property
    def vision(self) -> Any:
        """The vision config; None for a text-only model."""
        return getattr(self.config, "vision_config", None)

    @property
    def vision_adapted(self) -> bool:
        """Whether any layer of the vision tower is adapted."""
        return any(layer.adapted for layer in self.linears if layer.in_vision)


def build_skeleton(config: Any, plan: Plan) -> Skeleton:
    """Build the model of `config` on the meta device and put the plan's adapter on it.

    Raises:
        InputError: it is no causal language model with or without vision, or no layer matches plan.target_modules.
    """
    key = config.to_json_string(use_diff=False), plan.lora_r, plan.target_modules, plan.adapt_vision
    if key not in _BUILT:
        _BUILT[key] = _build(config, plan)
    return _BUILT[key]


def _build(config: Any, plan: Plan) -> Skeleton:
    import torch
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    with _quiet(), torch.device("meta"):
        model = _model(config)
        kept = get_keys_to_not_convert(model)
        head = model.get_output_embeddings()
        table = model.get_input_embeddings().weight
        found = [
            Linear(
                name,
                module.in_features,
                module.out_features,
                module.bias is not None,
                module is not head and should_convert_module(name, kept),
            )
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        ]
        head_name = next(name for name, module in model.named_modules() if module is head)
        total = sum(parameter.numel() for parameter in model.parameters())
        tied = head.weight is table
        buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
        adapted, sizes = _adapter(model, plan)
    inner = [replace(layer, adapted=layer.name in adapted) for layer in found if layer.name != head_name]
    linears = [*inner, *(layer for layer in found if layer.name == head_name)]
    in_linears = sum(x.inputs * x.outputs for x in linears if not (tied and x.name == head_name))
    embeddings = table.numel()
    others = total - in_linears - embeddings
    return Skeleton(config, total, tuple(linears), head_name, tied, embeddings, others, buffers, sizes)


def _model(config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    try:
        return kind.from_config(config)
    except ValueError as error:
        raise InputError(
            f"a {config.model_type} model can't be fine-tuned here", remedy="give a causal LM or a Qwen-VL checkpoint"
        ) from error


def _adapter(model: Any, plan: Plan) -> tuple[set[str], tuple[int, ...]]:
    """Names of the adapted layers, and the sizes of the matrices that PEFT would add."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    targets = plan.target_modules if isinstance(plan.target_modules, str) else list(plan.target_modules)
    options = LoraConfig(
        r=plan.lora_r,
        target_modules=targets,
        exclude_modules=None if plan.adapt_vision else rf"(.*\.)?{VISION}\..*",
        task_type="CAUSAL_LM",
    )
    try:
        tuned = get_peft_model(model, options)
    except ValueError as error:
        raise InputError(
            f"--lora.target_modules: {str(error).splitlines()[0]:.160}", remedy='use "all-linear" or name layers'
        ) from error
    prefix = "base_model.model."
    names = {name.removeprefix(prefix) for name, module in tuned.named_modules() if isinstance(module, LoraLayer)}
    return names, tuple(p.numel() for p in tuned.parameters() if p.requires_grad)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' remarks about a model that will never run."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
