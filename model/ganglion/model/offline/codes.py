"""What an image token should say of its spot, as a vector: which sign is there, and where the middle of it is.

The halves of a vision-language model that learn apart agree by these: the vision tower learns to write them, the text
part to read them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganglion.model.offline.signs import SIZES, Spots

SCALE = 0.5  # standard deviation of what one part of a sign adds to a code
# How much more the place counts, and that there is anything at all. After 300 steps of finding up to two badges 0.44 of
# the first digits of places were right so, and 0.19 with 1 and 0.
_PLACE, _PRESENCE = 2.0, 2.0
# Half waves over the side of an image: slow ones say roughly where, fast ones tell places within a spot apart.
_WAVES = (0.5, 1, 2, 3, 4, 5, 6, 7, 8)
_EVERYWHERE = torch.linspace(0, 1, 100)


class Codes:
    """Fixed random codes of the parts of signs and smooth ones of places, (width,) each, added up.

    Args:
        width: of an image token.
        seed: decides them.
    """

    def __init__(self, width: int, seed: int) -> None:
        self.width = width
        draw = torch.Generator().manual_seed(seed)
        self._parts = [torch.randn(size, width, generator=draw) * SCALE for size in SIZES]
        for part in self._parts:
            part[0] = 0
        self._presence = torch.randn(width, generator=draw) * SCALE * _PRESENCE
        self._axes = [torch.randn(2 * len(_WAVES), width, generator=draw) for _ in range(2)]
        self.place_variance = 2 * (SCALE * _PLACE) ** 2  # of a row's and a column's code together

    def of(self, spots: Spots) -> Tensor:
        """(H * W, width) the codes of an image's spots."""
        return self.at(spots.signs.flatten(0, 1), spots.places.flatten(0, 1))

    def at(self, signs: Tensor, places: Tensor) -> Tensor:
        """(n, width) the codes of signs (n, 4) at places (n, 2), y and x as parts of the sides."""
        something = (signs > 0).any(-1)[:, None] * self._presence
        return self.of_signs(signs) + something + self.places(places)

    def of_signs(self, signs: Tensor) -> Tensor:
        """(n, width) the part of the codes that tells signs apart."""
        return torch.stack([known[signs[:, part]] for part, known in enumerate(self._parts)]).sum(0)

    def places(self, at: Tensor) -> Tensor:
        """(n, width) the part of the codes that says where; at: (n, 2) y and x as parts of the sides."""
        down, across = (_along(side, axis) for side, axis in zip(at.unbind(1), self._axes, strict=True))
        return down + across


def waves(at: Tensor) -> Tensor:
    """(n, 18) half waves at fractions of a side (n,), less their means."""
    return _waves(at) - _waves(_EVERYWHERE).mean(0)


def _along(at: Tensor, axis: Tensor) -> Tensor:
    """(n, width) codes of fractions of a side (n,)."""
    return waves(at) @ axis * (SCALE * _PLACE / (waves(_EVERYWHERE) @ axis).std())


def _waves(at: Tensor) -> Tensor:
    return torch.cat([wave(at[:, None] * k * math.pi) for k in _WAVES for wave in (torch.sin, torch.cos)], 1)
