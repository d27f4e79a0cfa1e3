"""The text part's half of the finer base's training: to answer from codes, written by hand, that no tower writes yet.

They are about sheets that are never drawn, whose signs are one to a spot: first pages alone, then also larger and
larger grids, and exercises in text alone, commands in made-up words (`commands`), which teach to find a word again and
to copy it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.offline.codes import SCALE, Codes
from ganglion.model.offline.icons import ICONS
from ganglion.model.offline.sheet_answers import Asked, Questions, learn_answers, name_icons
from ganglion.model.offline.signs import LETTERS, Badge, Grid, Page, Shown, spots
from ganglion.model.offline.steps import Updates, Workers, matrices, shown

_SPOT = 32  # pixels of an image token's side
_PATCHES = torch.tensor([1, 2, 2])  # frames and sides of an image token
_SPREADS = ((8, 8), (8, 8), (7, 9), (9, 7), (6, 10), (5, 6), (4, 4))  # rows and columns of a page that is not drawn
_OFF = 0.3  # how far badges may be off the middles of their spots, in spots: they cover these and reach no others
_HALF = 10  # of their sides, pixels
_MOST_BADGES, _LONGEST_SIDE = 12, 8
# Shares of the training: grids have one row until the first, as many as there may be from the second on.
_FEW, _FULL = 0.1, 0.75
_TEXTS, _GRIDS = 0.4, 0.3  # shares of a batch; the rest are pages
_NOISE = 0.2  # in the codes, times SCALE: no tower writes them exactly


@dataclass(frozen=True)
class Reading:
    """How much is learned, and how fast; matrices at a rate of their own."""

    page_steps: int = 600
    spread_steps: int = 2400
    batch: int = 16
    rate: float = 3e-3
    matrix_rate: float = 0.015


def learn_to_read(
    model: Any, processor: Any, codes: Codes, readout: nn.Module, recipe: Reading, seed: int, workers: Workers
) -> None:
    """Let the text part of `model` answer from codes, in place. readout: that of `learn_answers`."""
    name_icons(model.model.language_model.embed_tokens.weight, processor.tokenizer, codes)
    questions = Questions(processor, codes)
    draw, noise = random.Random(seed), torch.Generator().manual_seed(seed)

    def asked(about: Shown) -> Asked:
        rows, columns = about.size[1] // _SPOT, about.size[0] // _SPOT
        known = codes.of(spots(about, rows, columns))
        heard = known + _NOISE * SCALE * torch.randn(known.shape, generator=noise)
        return questions.about(about, draw.randrange(2**31), heard, torch.tensor([1, rows, columns]) * _PATCHES)

    def page(_: int) -> list[Asked]:
        return [asked(spread_page(draw)) for _ in range(recipe.batch)]

    def spread(step: int) -> list[Asked]:
        reached = grown(step / recipe.spread_steps)
        batch = [asked(spread_grid(draw, reached)) for _ in range(of_grids)]
        batch += [asked(spread_page(draw)) for _ in range(of_pages)]
        batch += [questions.in_text(f"{seed} {draw.randrange(2**31)}") for _ in range(recipe.batch - len(batch))]
        return draw.sample(batch, recipe.batch)

    of_grids = round(_GRIDS * recipe.batch)
    of_pages = recipe.batch - of_grids - round(_TEXTS * recipe.batch)
    text, logits = model.model.language_model, functools.partial(_logits, model)
    parameters = [*text.parameters(), *readout.parameters()]
    for make, steps, name in ((page, recipe.page_steps, "finding"), (spread, recipe.spread_steps, "reading")):
        batches = map(make, shown(range(steps), f"offline base: {name}"))
        updates = Updates(parameters, recipe.rate, steps, matrices(text), recipe.matrix_rate)
        learn_answers(model, processor.tokenizer, batches, logits, readout, updates, workers)


def grown(share: float) -> float:
    """How far the sheets that are not drawn have grown, 0 to 1, after a share of a part of the training."""
    return min(1.0, max(0.0, (share - _FEW) / (_FULL - _FEW)))


def spread_page(draw: random.Random) -> Page:
    """A page with each badge near the middle of a spot of its own."""
    rows, columns = draw.choice(_SPREADS)
    count = 1 + int(_MOST_BADGES * draw.random() ** 2)  # few more often: what they are called is learned from these
    badges = []
    for name, spot in zip(draw.sample([*ICONS], count), draw.sample(range(rows * columns), count), strict=True):
        y, x = ((at + 0.5 + draw.uniform(-_OFF, _OFF)) * _SPOT for at in divmod(spot, columns))
        badges.append(Badge(name, (x - _HALF, y - _HALF, x + _HALF, y + _HALF)))
    return Page(tuple(badges), (columns * _SPOT, rows * _SPOT))


def spread_grid(draw: random.Random, reached: float) -> Grid:
    """A grid with a spot to a cell; how large grows with reached, 0 to 1."""
    longest = 1 + int(reached * (_LONGEST_SIDE - 1))
    rows, columns, share = draw.randint(1, longest), draw.randint(2, _LONGEST_SIDE), draw.uniform(0.15, 0.7)
    letters = LETTERS + LETTERS.lower()
    cells = tuple(
        tuple(draw.choice(letters) if draw.random() < share else "" for _ in range(columns)) for _ in range(rows)
    )
    return Grid(cells, 0, 0, _SPOT, _SPOT, size=(columns * _SPOT, rows * _SPOT))


def _logits(model: Any, ids: Tensor, mask: Tensor, seen: Sequence[Asked]) -> Tensor:
    """Of the text part, with codes in the place of images."""
    text, is_image = model.model.language_model, ids == model.config.image_token_id
    positions, _ = model.model.get_rope_index(
        ids,
        mm_token_type_ids=is_image.long(),
        image_grid_thw=torch.stack([one.grid for one in seen]) if seen else None,
        attention_mask=mask,
    )
    given = text.embed_tokens(ids)
    if seen:
        given = given.masked_scatter(is_image[..., None].expand_as(given), torch.cat([one.seen for one in seen]))
    states = text(inputs_embeds=given, position_ids=positions, attention_mask=mask, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(states)
    return logits
