"""The vision tower's half of the finer base's training: to tell signs apart, and to write their codes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.offline.codes import Codes
from ganglion.model.offline.sheet_items import Item, grids_of, patches_of
from ganglion.model.offline.signs import SIZES, Grid
from ganglion.model.offline.steps import Updates, Workers, matrices, shown

# What is hard to find is given alone first: mixed with the rest from the start, letters took three times as long.
_GRIDS_ALONE = 0.15  # share of the steps: without pages
_PAGES = 0.5  # share of a batch after that
_PART_WEIGHTS = (1.0, 1.0, 0.5, 0.5)  # of letter, color, shade and glyph
_PLACE_WEIGHT, _SHOWN_WEIGHT, _RIDGE, _FITTED_AT_ONCE = 1.0, 3.0, 1e-5, 20


@dataclass(frozen=True)
class Seeing:
    """How much is learned, and how fast; matrices at a rate of their own."""

    steps: int = 2000
    batch: int = 8
    rate: float = 2e-3
    matrix_rate: float = 0.02


def learn_to_see(tower: Any, items: Sequence[Item], codes: Codes, recipe: Seeing, seed: int, workers: Workers) -> None:
    """Tell signs apart and where they are, by readouts that are thrown away; then write codes, in place."""
    width = codes.width
    name, place = nn.Linear(width, sum(SIZES)), nn.Linear(width, width)
    parameters = [parameter for part in (tower, name, place) for parameter in part.parameters()]
    updates = Updates(parameters, recipe.rate, recipe.steps, matrices(tower), recipe.matrix_rate)
    grids = [one for one in items if isinstance(one.shown, Grid)]
    pages = [one for one in items if not isinstance(one.shown, Grid)]
    draw = random.Random(seed)

    def loss(part: Sequence[Item]) -> Tensor:
        seen = tower(patches_of(part), grid_thw=grids_of(part)).pooler_output
        signs = torch.cat([one.spots.signs.flatten(0, 1) for one in part])
        places = codes.places(torch.cat([one.spots.places.flatten(0, 1) for one in part]))
        total = _PLACE_WEIGHT * nn.functional.mse_loss(place(seen), places) / codes.place_variance
        for kind, (said, weight) in enumerate(zip(name(seen).split(SIZES, 1), _PART_WEIGHTS, strict=True)):
            total = total + weight * nn.functional.cross_entropy(said, signs[:, kind])
        return total

    for step in shown(range(recipe.steps), "offline base: seeing"):
        of_pages = 0 if step < _GRIDS_ALONE * recipe.steps else round(_PAGES * recipe.batch)
        batch = draw.sample(grids, recipe.batch - of_pages) + draw.sample(pages, of_pages)
        draw.shuffle(batch)
        workers.backward(batch, loss)
        updates.step()
    _write_codes(tower, items[: len(items) // 2], codes)


@torch.no_grad()
def _write_codes(tower: Any, items: Sequence[Item], codes: Codes) -> None:
    """Let the tower's last layer write codes: least squares from what goes into it, in place.

    Learned along with the rest they slow down the telling apart of signs threefold; fitted afterward they cost nothing.
    """
    layer = tower.merger.linear_fc2
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _module, given: inputs.append(given[0].flatten(0, -2)))
    size = layer.in_features + 1
    products, targets = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, layer.out_features).double()
    try:
        for start in range(0, len(items), _FITTED_AT_ONCE):
            part = items[start : start + _FITTED_AT_ONCE]
            inputs.clear()
            tower(patches_of(part), grid_thw=grids_of(part))
            given = torch.cat([inputs[0], torch.ones(len(inputs[0]), 1)], 1).double()
            wanted = torch.cat([codes.of(one.spots) for one in part]).double()
            # Most spots show nothing: what shows something counts more.
            is_shown = torch.cat([(one.spots.signs > 0).any(-1).flatten() for one in part])
            weight = (1 + (_SHOWN_WEIGHT - 1) * is_shown)[:, None]
            products += (given * weight).T @ given
            targets += (given * weight).T @ wanted
    finally:
        hook.remove()
    products += _RIDGE * products.diagonal().mean() * torch.eye(size)
    fitted = torch.linalg.solve(products, targets)
    layer.weight.copy_(fitted[:-1].T)
    layer.bias.copy_(fitted[-1])
