"""The pretext training of the finer base: the two halves learn apart, and are then joined.

The vision tower learns to write the code of what each spot of a sheet shows (`codes`), the text part to answer
questions from such codes, written by hand. Each half gets a clear signal, so that looking up, which is what takes long
to be found, is found in some hundreds of steps; learned through an untrained tower it was not found in a thousand.
Joined, they answer questions about the sheets themselves.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.offline.codes import Codes
from ganglion.model.offline.sheet_answers import Asked, Questions, learn_answers
from ganglion.model.offline.sheet_items import Item, item
from ganglion.model.offline.sheet_reading import Reading, learn_to_read
from ganglion.model.offline.sheet_seeing import Seeing, learn_to_see
from ganglion.model.offline.sheets import sheet
from ganglion.model.offline.signs import SIDE
from ganglion.model.offline.start import place_codes, prepare
from ganglion.model.offline.steps import Updates, Workers, matrices, shown


@dataclass(frozen=True)
class Joining:
    """How much is learned by both halves together, and how fast; matrices at a rate of their own."""

    steps: int = 600
    batch: int = 16
    rate: float = 1e-3
    matrix_rate: float = 0.006


@dataclass(frozen=True)
class SheetPretext:
    """The whole training. A batch is split over `workers`."""

    sheets: int = 4000
    seed: int = 7
    workers: int = 2
    seeing: Seeing = field(default_factory=Seeing)
    reading: Reading = field(default_factory=Reading)
    joining: Joining = field(default_factory=Joining)


SHEET_RECIPE = SheetPretext()
_QUIET = 0.1  # how loud the features of middle layers are when they first reach the text part
_TEXTS = 0.2  # share of a batch of both halves that is text alone, so that it is not forgotten
_LOOKED_AT = 200  # images that the patch filters are made from


def train_sheet_pretext(model: Any, processor: Any, recipe: SheetPretext = SHEET_RECIPE) -> None:
    """Train `model` in place, in float32 on the CPU; torch's random state and thread count are as before after it."""
    with torch.random.fork_rng(devices=[]), Workers(recipe.workers) as workers:
        torch.manual_seed(recipe.seed)
        drawn = shown(range(recipe.sheets), "offline base: drawing")
        items = [item(processor, sheet(recipe.seed, index)) for index in drawn]
        squares = [one.patches for one in items[: 3 * _LOOKED_AT] if one.shown.size == (SIDE, SIDE)]
        prepare(model, torch.stack(squares[:_LOOKED_AT]))
        place_codes(model.model.visual)
        codes = Codes(model.config.get_text_config().hidden_size, recipe.seed)
        readout = nn.Linear(codes.width, codes.width)
        model.train()
        learn_to_see(model.model.visual, items, codes, recipe.seeing, recipe.seed, workers)
        learn_to_read(model, processor, codes, readout, recipe.reading, recipe.seed, workers)
        _join(model, processor, items, codes, readout, recipe, workers)
        model.eval()


def _join(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    codes: Codes,
    readout: nn.Module,
    recipe: SheetPretext,
    workers: Workers,
) -> None:
    """Both halves together answer about what is on the sheets."""
    with torch.no_grad():
        for merger in model.model.visual.deepstack_merger_list:  # the text part has not met what they add
            merger.linear_fc2.weight *= _QUIET
            merger.linear_fc2.bias.zero_()
    joining, questions = recipe.joining, Questions(processor, codes)
    draw, of_texts = random.Random(recipe.seed + 1), round(_TEXTS * joining.batch)

    def batch(_: int) -> list[Asked]:
        about = [
            questions.about(one.shown, draw.randrange(2**31), one.patches, one.grid)
            for one in draw.sample(items, joining.batch - of_texts)
        ]
        texts = [questions.in_text(f"join {draw.randrange(2**31)}") for _ in range(of_texts)]
        return draw.sample(about + texts, joining.batch)

    def logits(ids: Tensor, mask: Tensor, seen: Sequence[Asked]) -> Tensor:
        said: Tensor = model(
            input_ids=ids,
            attention_mask=mask,
            mm_token_type_ids=(ids == model.config.image_token_id).long(),
            pixel_values=torch.cat([one.seen for one in seen]) if seen else None,
            image_grid_thw=torch.stack([one.grid for one in seen]) if seen else None,
            use_cache=False,
        ).logits
        return said

    trained = [*model.parameters(), *readout.parameters()]
    updates = Updates(trained, joining.rate, joining.steps, matrices(model), joining.matrix_rate)
    # Tokenizing stays in one thread: the tokenizer is not to be shared by two.
    batches = map(batch, shown(range(joining.steps), "offline base: answering"))
    learn_answers(model, processor.tokenizer, batches, logits, readout, updates, workers)
