"""A patch embedding that starts with whitened filters.

Nearly all variance of an image patch is its mean color, so random filters show the network colors and hide edges.
Filters along the principal components of real patches, each scaled to the same variance and then mixed by a random
rotation, show both from the first step on; what a tiny vision tower can learn in a few hundred steps depends on it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Added to each component's variance, so that components that hold little but noise aren't blown up.
_NOISE = 0.02


@torch.no_grad()
def whiten_patches(visual: Any, pixels: Tensor) -> None:
    """Set the patch embedding's weights in place.

    Args:
        visual: a Qwen-VL vision tower; its embedding weight is (width, colors, frames, patch, patch).
        pixels: (images, patches, colors * frames * patch * patch) as the image processor gives them.
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
