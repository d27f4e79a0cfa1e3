"""Floating-point operations of a training step, from shapes: a multiplication and an addition are two.

A frozen linear layer costs its forward pass and the gradient of its input, not that of its weight. Checkpointing adds
the forward pass of all layers once more. Causal attention counts as full, as torch's counter does.
"""

from __future__ import annotations

from ganglion.training.sft.estimate.activations import Batch
from ganglion.training.sft.estimate.plan import Plan
from ganglion.training.sft.estimate.shapes import decoder, tower
from ganglion.training.sft.estimate.skeleton import Linear, Skeleton

# Products of a fused attention: scores and values forward; backward the scores again and four gradients.
_FORWARD_PRODUCTS, _BACKWARD_PRODUCTS = 2, 5
# The last layer of a block, in a decoder and in the towers.
_LAST = (".mlp.down_proj", ".mlp.fc2", ".mlp.linear_fc2", ".mlp.c_proj")


def batch_flops(model: Skeleton, plan: Plan, batch: Batch) -> int:
    """Of one forward and backward pass of `batch`."""
    in_tower = model.vision_adapted
    total = 0
    for layer in model.linears:
        rows = _rows(layer, model, batch)
        backward = in_tower if layer.in_vision else True
        # The first layers' inputs need no gradient where nothing before them is trained.
        needs_input = not _is_first(layer) or (in_tower and not layer.in_vision)
        total += _linear(layer, rows, plan.lora_r, backward, backward and needs_input)
        if plan.gradient_checkpointing and backward and _in_block(layer, model):
            total += _recomputed(layer, rows, plan.lora_r)
    total += _attention(model, plan, batch, in_tower) + _patch_embedding(model, batch)
    return total


def _linear(layer: Linear, rows: int, rank: int, backward: bool, input_gradient: bool) -> int:
    base = 2 * rows * layer.inputs * layer.outputs
    low = 2 * rows * rank * (layer.inputs + layer.outputs) if layer.adapted else 0
    total = base + low
    if backward:
        total += low  # gradients of A and B
        if layer.adapted:  # through B always, through A where the input needs it
            total += 2 * rows * rank * (layer.outputs + (layer.inputs if input_gradient else 0))
        total += base if input_gradient else 0
    return total


def _recomputed(layer: Linear, rows: int, rank: int) -> int:
    """Its forward pass, but of a block's last layer only what the backward pass asks for: there recomputing stops."""
    base = 2 * rows * layer.inputs * layer.outputs
    last = layer.name.endswith(_LAST)
    if not layer.adapted:
        return 0 if last else base
    return base + 2 * rows * rank * (layer.inputs + (0 if last else layer.outputs))


def _rows(layer: Linear, model: Skeleton, batch: Batch) -> int:
    if not layer.in_vision:
        return batch.rows * batch.labeled if layer.name == model.head else batch.tokens
    patches = batch.patches * batch.images
    return patches // int(model.vision.spatial_merge_size) ** 2 if layer.is_merger else patches


def _in_block(layer: Linear, model: Skeleton) -> bool:
    """Whether it belongs to a layer that checkpointing recomputes."""
    return not layer.is_merger and layer.name != model.head


def _is_first(layer: Linear) -> bool:
    ends = [f"layers.0.self_attn.{name}_proj" for name in "qkv"]
    return layer.name.endswith(("blocks.0.attn.qkv", *ends))


def _attention(model: Skeleton, plan: Plan, batch: Batch, in_tower: bool) -> int:
    text, vision = decoder(model), tower(model)
    trained = _FORWARD_PRODUCTS * (1 + plan.gradient_checkpointing) + _BACKWARD_PRODUCTS
    total = trained * text.layers * 2 * batch.rows * batch.length**2 * text.queries
    if vision is None:
        return total
    products = trained if in_tower else _FORWARD_PRODUCTS
    return total + products * 2 * batch.images * batch.patches * vision.seen(batch.patches) * vision.width


def _patch_embedding(model: Skeleton, batch: Batch) -> int:
    """Its convolution, forward only: it is frozen, and pixels need no gradient."""
    vision = tower(model)
    return 2 * batch.patches * batch.images * vision.patch_values * vision.width if vision else 0
