"""Sheets ready for a model, and the loss of its answers about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.offline.sheets import Sheet
from ganglion.model.offline.signs import Shown, Spots, spots

_FRAMES = 2  # a still image is in a patch twice


@dataclass(frozen=True)
class Item:
    """A sheet ready for the model.

    pixels  (patches, colors, patch * patch) uint8, of one frame
    grid    (3,) int64, patches
    spots   by image token
    """

    shown: Shown
    pixels: Tensor
    grid: Tensor
    spots: Spots

    @property
    def patches(self) -> Tensor:
        """(patches, values) float32, as the image processor gives them."""
        frame = self.pixels.float() / 127.5 - 1
        return frame[:, :, None].expand(-1, -1, _FRAMES, -1).flatten(1)


def item(processor: Any, drawn: Sheet) -> Item:
    """The sheet as the processor makes it."""
    made = processor.image_processor([drawn.image], return_tensors="pt")
    grid, size = made["image_grid_thw"][0], processor.image_processor.merge_size
    values = made["pixel_values"].reshape(len(made["pixel_values"]), 3, _FRAMES, -1)[:, :, 0]
    rows, columns = (int(n) // size for n in grid[1:])
    pixels = ((values + 1) * 127.5).round().to(torch.uint8)
    return Item(drawn.shown, pixels, grid, spots(drawn.shown, rows, columns))


def patches_of(items: Sequence[Item]) -> Tensor:
    """(patches of all, values) float32."""
    return torch.cat([one.patches for one in items])


def grids_of(items: Sequence[Item]) -> Tensor:
    """(B, 3) int64."""
    return torch.stack([one.grid for one in items])


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over answers of the mean over their tokens: a long answer counts as much as a short one.

    Args:
        logits: (B, T, vocabulary).
        labels: (B, T), -100 where nothing is to be said.
    """
    said, wanted = logits[:, :-1], labels[:, 1:]
    losses = nn.functional.cross_entropy(said.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
    counted = wanted >= 0
    return (losses.sum(1) / counted.sum(1)).mean()
