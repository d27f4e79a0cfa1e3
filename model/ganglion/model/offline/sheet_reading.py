"""The text part's half of the finer base's training: to answer from codes, written by hand, that no tower writes yet.

First about sheets that are never drawn, whose signs are one to a spot: pages of more and more badges, then also larger
and larger grids. What is hard to find, looking up by content and by place, is found on the first few signs; among all
of them from the start it was not found in a thousand steps, and finding badges not beside anything else. Then about
sheets as the tower sees them. From the grids on, a part of it are exercises in text alone, commands in made-up words
(`commands`): they teach to find a word again and to copy it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganglion.model.offline.codes import SCALE, Codes
from ganglion.model.offline.commands import command
from ganglion.model.offline.pretext import encode
from ganglion.model.offline.sheet_items import Item, answer_loss
from ganglion.model.offline.sheet_lessons import sheet_lesson
from ganglion.model.offline.signs import COLORS, LETTERS, SHADES, SHAPES, Badge, Grid, Page, Shown, signs
from ganglion.model.offline.steps import Row, Updates, Workers, matrices, padded, shown
from ganglion.model.offline.text_pretext import encode_text

_SPOT, _MERGED = 32, 2  # pixels of an image token's side; patches along it
_SPREADS = ((8, 8), (8, 8), (7, 9), (9, 7), (6, 10), (5, 6), (4, 4))  # rows and columns of a page that is not drawn
_MOST_BADGES, _LONGEST_SIDE = 12, 8
# Shares of a part of the training: one badge or row until the first, as many as there may be from the second on.
_FEW, _FULL = 0.1, 0.75
_TEXTS, _GRIDS = 0.3, 0.3  # shares of a batch; the rest are pages
_SPREAD_NOISE, _SEEN_NOISE = 0.2, 0.4  # in the codes, times SCALE: no tower writes them exactly


@dataclass(frozen=True)
class Reading:
    """How much is learned, and how fast; matrices at a rate of their own."""

    page_steps: int = 1600
    spread_steps: int = 2400
    spread_matrix_rate: float = 0.015
    sheet_steps: int = 700
    sheet_matrix_rate: float = 0.012
    batch: int = 16
    rate: float = 3e-3


@dataclass(frozen=True)
class _Asked:
    """A question, and if it is about a sheet the codes (H * W, width) in the place of an image of `grid` patches."""

    row: Row
    codes: Tensor | None = None
    grid: Tensor | None = None


def learn_to_read(
    model: Any, processor: Any, items: Sequence[Item], codes: Codes, recipe: Reading, seed: int, workers: Workers
) -> None:
    """Let the text part of `model` answer from codes, in place."""
    draw, noise = random.Random(seed), torch.Generator().manual_seed(seed)

    def asked(about: Shown, of: Tensor, loud: float) -> _Asked:
        taught = sheet_lesson(about, draw.randrange(2**31))
        rows, columns, _ = of.shape
        grid = torch.tensor([1, rows * _MERGED, columns * _MERGED])
        known = codes.of(of)
        heard = known + loud * SCALE * torch.randn(known.shape, generator=noise)
        return _Asked(encode(processor, taught, grid), heard, grid)

    def batch(about_sheets: list[_Asked]) -> list[_Asked]:
        count = recipe.batch - len(about_sheets)
        texts = [command(f"{seed} {draw.randrange(2**31)}") for _ in range(count)]
        about_texts = [_Asked(encode_text(processor.tokenizer, text)) for text in texts]
        return draw.sample(about_sheets + about_texts, recipe.batch)

    def page(step: int) -> list[_Asked]:
        sheets = [spread_page(draw, grown(step / recipe.page_steps)) for _ in range(recipe.batch)]
        return [asked(one, spots(one), _SPREAD_NOISE) for one in sheets]

    def spread(step: int) -> list[_Asked]:
        sheets: list[Shown] = [spread_grid(draw, grown(step / recipe.spread_steps)) for _ in range(of_grids)]
        sheets += [spread_page(draw, 1.0) for _ in range(of_pages)]
        return batch([asked(one, spots(one), _SPREAD_NOISE) for one in sheets])

    def seen(_: int) -> list[_Asked]:
        sheets = draw.choices(grids, k=of_grids) + draw.choices(pages, k=of_pages)
        return batch([asked(one.shown, one.signs, _SEEN_NOISE) for one in sheets])

    of_grids = round(_GRIDS * recipe.batch)
    of_pages = recipe.batch - of_grids - round(_TEXTS * recipe.batch)
    grids = [one for one in items if isinstance(one.shown, Grid)]
    pages = [one for one in items if isinstance(one.shown, Page)]
    spread_rate = recipe.spread_matrix_rate
    for make, steps, matrix_rate, name in (
        (page, recipe.page_steps, spread_rate, "finding"),
        (spread, recipe.spread_steps, spread_rate, "reading"),
        (seen, recipe.sheet_steps, recipe.sheet_matrix_rate, "reading sheets"),
    ):
        batches = map(make, shown(range(steps), f"offline base: {name}"))
        _answer(model, processor, batches, steps, recipe.rate, matrix_rate, workers)


def grown(share: float) -> float:
    """How far the sheets that are not drawn have grown, 0 to 1, after a share of a part of the training."""
    return min(1.0, max(0.0, (share - _FEW) / (_FULL - _FEW)))


def spread_page(draw: random.Random, reached: float) -> Page:
    """A page with each badge in the middle of a spot of its own; how many grows with reached, 0 to 1."""
    rows, columns = draw.choice(_SPREADS)
    names = {
        (draw.choice([*COLORS]), draw.choice(SHADES), draw.choice(SHAPES)): None
        for _ in range(draw.randint(1, 1 + int(reached * (_MOST_BADGES - 1))))
    }
    badges = []
    for (color, shade, shape), spot in zip(names, draw.sample(range(rows * columns), len(names)), strict=True):
        y, x = ((at + 0.5) * _SPOT for at in divmod(spot, columns))
        badges.append(Badge(color, shade, shape, (x - 1, y - 1, x + 1, y + 1)))
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


def spots(one: Shown) -> Tensor:
    """(H, W, 4) what the spots of a sheet that is not drawn show."""
    return torch.from_numpy(signs(one, one.size[1] // _SPOT, one.size[0] // _SPOT))


def _answer(
    model: Any,
    processor: Any,
    batches: Iterable[Sequence[_Asked]],
    steps: int,
    rate: float,
    matrix_rate: float,
    workers: Workers,
) -> None:
    text = model.model.language_model
    updates = Updates(text.parameters(), rate, steps, matrices(text), matrix_rate)

    def loss(part: Sequence[_Asked]) -> Tensor:
        ids, mask, labels = padded([one.row for one in part], processor.tokenizer.pad_token_id)
        is_image = ids == model.config.image_token_id
        grids = [one.grid for one in part if one.grid is not None]
        positions, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=is_image.long(),
            image_grid_thw=torch.stack(grids) if grids else None,
            attention_mask=mask,
        )
        given = text.embed_tokens(ids)
        if seen := [one.codes for one in part if one.codes is not None]:
            given = given.masked_scatter(is_image[..., None].expand_as(given), torch.cat(seen))
        states = text(
            inputs_embeds=given,
            position_ids=positions,
            attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        return answer_loss(model.lm_head(states), labels)

    for batch in batches:
        workers.backward(batch, loss)
        updates.step()
