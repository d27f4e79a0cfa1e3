"""What an image token should say of its spot, as a vector: which sign is there, and where it is.

The halves of a vision-language model that learn apart agree by these: the vision tower learns to write them, the text
part to read them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE = 0.5  # standard deviation of each part of a code
# Half waves over the side of an image: slow ones say roughly where, fast ones tell neighboring spots apart.
_WAVES = (0.5, 1, 2, 3, 4, 5, 6, 7, 8)
_EVERYWHERE = torch.linspace(0, 1, 100)


class Codes:
    """Fixed random codes of signs and smooth ones of places, (width,) each, added up.

    Args:
        signs: how many there are, nothing among them.
        width: of an image token.
        seed: decides them.
    """

    def __init__(self, signs: int, width: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.signs = torch.randn(signs, width, generator=draw) * SCALE
        self.place_variance = 2 * SCALE**2  # of a row's and a column's code together
        self._axes = [torch.randn(2 * len(_WAVES), width, generator=draw) for _ in range(2)]

    def of(self, signs_HW: Tensor) -> Tensor:
        """(H * W, width) the codes of an image's spots."""
        rows, columns = signs_HW.shape
        return (self.signs[signs_HW] + self.places(rows, columns)).flatten(0, 1)

    def places(self, rows: int, columns: int) -> Tensor:
        """(H, W, width) the part of the codes that says where."""
        down, across = (
            _along((torch.arange(count) + 0.5) / count, axis)
            for count, axis in zip((rows, columns), self._axes, strict=True)
        )
        return down[:, None] + across[None]


def waves(at: Tensor) -> Tensor:
    """(n, 18) half waves at fractions of a side (n,), less their means."""
    return _waves(at) - _waves(_EVERYWHERE).mean(0)


def _along(at: Tensor, axis: Tensor) -> Tensor:
    """(n, width) codes of fractions of a side (n,)."""
    return waves(at) @ axis * (SCALE / (waves(_EVERYWHERE) @ axis).std())


def _waves(at: Tensor) -> Tensor:
    return torch.cat([wave(at[:, None] * k * math.pi) for k in _WAVES for wave in (torch.sin, torch.cos)], 1)
