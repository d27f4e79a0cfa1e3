"""A start that a tiny network learns from quickly: what full-size models have learned already, put in by hand.

Five changes to random weights, of which a language model without a vision tower gets two. Each only says how an image
can be looked at, none of them what is in one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ganglion.model.offline.codes import waves

# Added to each component's variance, so that components that hold little but noise aren't blown up.
_NOISE = 0.02
# Where the heads of the first vision blocks look at first: (rows, columns) in patches.
_AROUND = (
    ((0, 1), (0, -1), (1, 0), (-1, 0)),
    ((0, 2), (0, -2), (2, 0), (-2, 0)),
    ((1, 1), (1, -1), (-1, 1), (-1, -1)),
)
_VISION_ROTARY_BASE = 1e4
# How strongly, per rotary frequency from the fastest; seven tenths of the attention then go to one neighbor.
_PULL = (5.0, 3.0)
_PLACE = 0.5  # standard deviation of learned positions, where patches have about 1
_CONTENT = 0.3  # what remains of the random queries and keys beside it

# Gain of the last norm. Words are compared with unit states over embeddings this small, so logits could hardly grow to
# where an answer is certain, and a fine-tune with a frozen head not at all (its loss stayed above 0.04, now 0.004).
_CERTAINTY = 3.0


@torch.no_grad()
def prepare(model: Any, pixels: Tensor) -> None:
    """Prepare a randomly initialized Qwen-VL model in place.

    Args:
        model: of any of the three families.
        pixels: (images, patches, colors * frames * patch * patch) as the image processor gives them.
    """
    visual = model.model.visual
    _whiten_patches(visual, pixels)
    _look_around(visual)
    _damp(visual.blocks)
    prepare_text(model.model.language_model)


@torch.no_grad()
def place_codes(visual: Any) -> None:
    """Learned vision positions (Qwen3-VL) that start as smooth codes of row and column instead of noise, in place."""
    table = visual.pos_embed.weight
    side, width = visual.num_grid_per_side, table.shape[1]
    at = waves(torch.linspace(0, 1, side))
    down, across = (at @ torch.randn(at.shape[1], width) for _ in range(2))
    codes = (down[:, None] + across[None]).reshape(side * side, width)
    table.copy_(codes * (_PLACE / codes.std()))


@torch.no_grad()
def prepare_text(language_model: Any) -> None:
    """Prepare a randomly initialized Qwen text part, its decoder without the head, in place."""
    _damp(language_model.layers)
    language_model.norm.weight.fill_(_CERTAINTY)


def _whiten_patches(visual: Any, pixels: Tensor) -> None:
    """Patch filters along the principal components of real patches, all of one variance, mixed by a random rotation.

    Nearly all variance of a patch is its mean color, so random filters show colors and hide edges. What a tiny vision
    tower can learn in a few hundred steps depends on seeing both.
    """
    weight = visual.patch_embed.proj.weight
    width, colors, frames, patch, _ = weight.shape
    # A still image is the same in every frame: one frame's components do for all.
    one = pixels.float().reshape(-1, colors, frames, patch * patch)[:, :, 0].flatten(1)
    centered = one - one.mean(0)
    variance, components = torch.linalg.eigh(centered.T @ centered / len(one))
    variance, components = variance[-width:], components[:, -width:]
    rotation, _ = torch.linalg.qr(torch.randn(width, width))
    filters = rotation @ (components / (variance + _NOISE).sqrt()).T
    weight.copy_(filters.reshape(width, colors, 1, patch, patch).expand_as(weight) / frames)


def _look_around(visual: Any) -> None:
    """Vision heads that start as neighbor filters, as in ConViT (d'Ascoli et al. 2021), by biases and rotary phases.

    A key's bias that is the query's, turned by the angle of an offset, makes their product largest at that offset.
    """
    for block, offsets in zip(visual.blocks, _AROUND, strict=False):
        qkv, heads = block.attn.qkv, block.attn.num_heads
        width = qkv.in_features
        size, axis_size = width // heads, width // heads // 4
        query, key = torch.zeros(heads, size), torch.zeros(heads, size)
        for head, offset in enumerate(offsets):
            for axis, distance in enumerate(offset):
                for k, pull in enumerate(_PULL):
                    length = math.sqrt(pull * math.sqrt(size))
                    angle = distance * _VISION_ROTARY_BASE ** (-k / axis_size)
                    at = axis * axis_size + k
                    query[head, at] = length
                    key[head, at] = length * math.cos(angle)
                    key[head, at + size // 2] = -length * math.sin(angle)
        qkv.weight[: 2 * width] *= _CONTENT
        qkv.bias[: 2 * width] = torch.cat([query.flatten(), key.flatten()])


def _damp(layers: Any) -> None:
    """Residual branches that start small in deep stacks, as GPT-2's do."""
    for layer in layers:
        mlp = layer.mlp
        last = next(getattr(mlp, name) for name in ("fc2", "linear_fc2", "down_proj") if hasattr(mlp, name))
        attention = layer.attn.proj if hasattr(layer, "attn") else layer.self_attn.o_proj
        for linear in (attention, last):
            linear.weight *= (2 * len(layers)) ** -0.5
