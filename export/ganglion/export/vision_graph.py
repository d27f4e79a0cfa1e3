"""The vision tower as a graph: any number of images of unequal sizes, geometry computed from image_grid_thw inside.

The library's own forward loops over images in Python, which a trace would freeze to the example's sizes. Here every
patch finds its image, row, column and window by integer arithmetic, and images and windows become attention masks.
Covers Qwen2-VL, Qwen2.5-VL (window attention) and Qwen3-VL (interpolated positions, deepstack).

Shapes: N patches, I images, K = N / merge_size^2 image tokens, H text width, D deepstack levels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Patches(NamedTuple):
    """Where each patch is; all (N,) int64.

    image, frame      index of its image, and of its frame in that image
    row, col          position in the frame, in patches
    height, width     size of the frame, in patches
    """

    image: Tensor
    frame: Tensor
    row: Tensor
    col: Tensor
    height: Tensor
    width: Tensor


def locate_patches(count: Tensor, image_grid_thw: Tensor, merge_size: int) -> Patches:
    """Positions of patches that lie in merge-block order, image after image.

    Args:
        count: (N,) 0, 1, .. N - 1.
        image_grid_thw: (I, 3) frames, rows and columns of each image, in patches.
        merge_size: side of a merge block, in patches.
    """
    sizes = image_grid_thw.prod(-1)
    ends = sizes.cumsum(0)
    image = (count[:, None] >= ends[None, :]).sum(1)
    height, width = image_grid_thw[:, 1][image], image_grid_thw[:, 2][image]
    within_image = count - (ends - sizes)[image]
    within = within_image % (height * width)
    block, inner = within // merge_size**2, within % merge_size**2
    blocks_wide = width // merge_size
    row = block // blocks_wide * merge_size + inner // merge_size
    col = block % blocks_wide * merge_size + inner % merge_size
    return Patches(image, within_image // (height * width), row, col, height, width)


class VisionGraph(nn.Module):
    """pixel_values (N, patch values) and image_grid_thw (I, 3) int64 -> image_features (K, (1 + D) * H).

    The first H columns are the image tokens; the others, if any, what deepstack adds after the first text layers.
    """

    visual: Any  # the library's module; its parts have no types

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        config = visual.config
        self.merge_size: int = config.spatial_merge_size
        self.full_blocks = set(getattr(visual, "fullatt_block_indexes", range(len(visual.blocks))))
        self.window: int | None = None
        if hasattr(visual, "window_size"):
            self.window = config.window_size // self.merge_size // config.patch_size * self.merge_size
        self.deepstack: list[int] = list(getattr(config, "deepstack_visual_indexes", ()))
        self.rotate: Callable[..., tuple[Tensor, Tensor]] = sys.modules[
            type(visual).__module__
        ].apply_rotary_pos_emb_vision

    def forward(self, pixel_values: Tensor, image_grid_thw: Tensor) -> Tensor:
        """See the class."""
        visual = self.visual
        hidden = visual.patch_embed(pixel_values)
        count = torch.arange(hidden.shape[0], device=hidden.device)
        patches = locate_patches(count, image_grid_thw, self.merge_size)
        if hasattr(visual, "pos_embed"):
            hidden = hidden + _interpolated_positions(visual.pos_embed, visual.num_grid_per_side, patches)
        rotation = visual.rotary_pos_emb(hidden, torch.stack([patches.row, patches.col], -1))
        same_frame = _equal(patches.image) & _equal(patches.frame)
        frame_mask = window_mask = _additive(same_frame, hidden)
        if self.window is not None:
            same_window = _equal(patches.row // self.window) & _equal(patches.col // self.window)
            window_mask = _additive(same_frame & same_window, hidden)
        levels = []
        for index, block in enumerate(visual.blocks):
            mask = frame_mask if index in self.full_blocks else window_mask
            hidden = hidden + self._attend(block.attn, block.norm1(hidden), rotation, mask)
            hidden = hidden + block.mlp(block.norm2(hidden))
            if index in self.deepstack:
                levels.append(visual.deepstack_merger_list[self.deepstack.index(index)](hidden))
        features: Tensor = torch.cat([visual.merger(hidden), *levels], -1)
        return features

    def _attend(self, attention: Any, hidden: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        count = hidden.shape[0]
        qkv = attention.qkv(hidden).reshape(count, 3, attention.num_heads, -1).permute(1, 0, 2, 3)
        query, key = self.rotate(qkv[0], qkv[1], *rotation)
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, qkv[2]))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=attention.scaling)
        out: Tensor = attention.proj(mixed[0].transpose(0, 1).reshape(count, -1))
        return out


def _equal(index: Tensor) -> Tensor:
    return index[:, None] == index[None, :]


def _additive(allowed: Tensor, like: Tensor) -> Tensor:
    lowest = torch.finfo(like.dtype).min
    return torch.where(allowed, 0.0, lowest).to(like.dtype)[None, None]


def _interpolated_positions(table: nn.Embedding, side: int, patches: Patches) -> Tensor:
    """The (side, side) table of positions, resampled bilinearly (corners aligned) to each frame; (N, width)."""
    rows, row_weights = _taps(patches.row, patches.height, side)
    cols, col_weights = _taps(patches.col, patches.width, side)
    index = (rows[:, :, None] * side + cols[:, None, :]).flatten(1)
    weight = (row_weights[:, :, None] * col_weights[:, None, :]).flatten(1)
    positions: Tensor = (table(index) * weight[:, :, None]).sum(1)
    return positions.to(table.weight.dtype)


def _taps(index: Tensor, size: Tensor, side: int) -> tuple[Tensor, Tensor]:
    source = index.float() * (side - 1) / torch.clamp(size - 1, min=1)
    low = torch.floor(source)
    fraction = source - low
    first = low.long()
    return torch.stack([first, (first + 1).clamp(max=side - 1)], 1), torch.stack([1 - fraction, fraction], 1)
