"""The pretext training of the finer base: the two halves learn apart, side by side, and are then joined.

The vision tower learns to write the code of what each spot of a sheet shows (`codes`), the text part to answer
questions from such codes, written by hand. Each half gets a clear signal, so that looking up a place, which is what
takes long to be found, is found in a few hundred steps; learned through an untrained tower it was not found in a
thousand. Joined, they answer questions about the sheets themselves.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.offline.codes import SCALE, Codes
from ganglion.model.offline.lessons import Lesson
from ganglion.model.offline.pretext import encode
from ganglion.model.offline.sheet_lessons import is_square, plain_reading, sheet_lesson
from ganglion.model.offline.sheets import SIGNS, Grid, Sheet, sheet
from ganglion.model.offline.start import place_codes, prepare
from ganglion.model.offline.steps import Row, Updates, Workers, padded, shown


@dataclass(frozen=True)
class SheetPretext:
    """How much is learned, and how fast. A batch is split over `workers`."""

    sheets: int = 2400
    seed: int = 7
    workers: int = 2
    batch: int = 16
    see_steps: int = 1000
    see_rate: float = 2e-3
    read_steps: int = 2000
    read_rate: float = 3e-3
    join_steps: int = 500
    join_rate: float = 1.5e-3


SHEET_RECIPE = SheetPretext()
# Shares of the steps of a half. What is hard to find is given alone first: mixed with the rest from the start, letters
# took three times as long to be told apart, and looking up a place was not found at all.
_GRIDS_ALONE = 0.35  # of the tower's: without pages
_PLAIN_ALONE = 0.25  # of the text part's: grids of eight by eight, in reading order
_PLACE_WEIGHT, _SHOWN_WEIGHT, _RIDGE, _FITTED_AT_ONCE = 0.3, 3.0, 1e-5, 20
_QUIET = 0.1  # how loud the features of middle layers are when they first reach the text part
_NOISE = 0.4  # in the codes that the text part learns from, times SCALE: no tower writes them exactly


@dataclass(frozen=True)
class _Item:
    """A sheet ready for the model.

    pixels  (patches, colors, patch * patch) uint8, of one frame
    grid    (3,) int64, patches
    signs   (H, W) int64, by image token: places in SIGNS + 1, 0 for nothing
    """

    sheet: Sheet
    pixels: Tensor
    grid: Tensor
    signs: Tensor

    @property
    def patches(self) -> Tensor:
        """(patches, values) float32, as the image processor gives them."""
        frame = self.pixels.float() / 127.5 - 1
        return frame[:, :, None].expand(-1, -1, _FRAMES, -1).flatten(1)


Batch = Sequence[_Item]
_FRAMES = 2  # a still image is in a patch twice


def train_sheet_pretext(model: Any, processor: Any, recipe: SheetPretext = SHEET_RECIPE) -> None:
    """Train `model` in place, in float32 on the CPU; torch's random state and thread count are as before after it."""
    with torch.random.fork_rng(devices=[]), Workers(recipe.workers) as workers:
        torch.manual_seed(recipe.seed)
        drawn = shown(list(range(recipe.sheets)), "offline base: drawing")
        items = [_item(processor, sheet(recipe.seed, index)) for index in drawn]
        square = [item.patches for item in items[:400] if item.signs.shape[0] == item.signs.shape[1]]
        prepare(model, torch.stack(square[:200]))
        place_codes(model.model.visual)
        width = model.config.get_text_config().hidden_size
        codes = Codes(len(SIGNS) + 1, width, recipe.seed)
        model.train()
        _see(model.model.visual, items, codes, recipe, workers)
        write_codes(model.model.visual, items[: recipe.sheets // 2], codes)
        _read(model, processor, items, codes, recipe, workers)
        _join(model, processor, items, recipe, workers)
        model.eval()


def _see(tower: Any, items: Batch, codes: Codes, recipe: SheetPretext, workers: Workers) -> None:
    """The vision tower learns to tell signs apart and where they are, by readouts that are thrown away."""
    width = codes.signs.shape[1]
    name, place = nn.Linear(width, len(codes.signs)), nn.Linear(width, width)
    parameters = [parameter for part in (tower, name, place) for parameter in part.parameters()]
    updates = Updates(parameters, recipe.see_rate, recipe.see_steps)
    grids = [item for item in items if isinstance(item.sheet.shown, Grid)]
    draw = random.Random(recipe.seed)

    def loss(part: Batch) -> Tensor:
        seen = tower(torch.cat([item.patches for item in part]), grid_thw=_grids(part)).pooler_output
        signs = torch.cat([item.signs.flatten() for item in part])
        places = torch.cat([codes.places(*item.signs.shape).flatten(0, 1) for item in part])
        named: Tensor = nn.functional.cross_entropy(name(seen), signs)
        return named + _PLACE_WEIGHT * nn.functional.mse_loss(place(seen), places) / codes.place_variance

    for step in shown(range(recipe.see_steps), "offline base: seeing"):
        known = grids if step < _GRIDS_ALONE * recipe.see_steps else items
        workers.backward(draw.sample(known, recipe.batch), loss)
        updates.step()


@torch.no_grad()
def write_codes(tower: Any, items: Batch, codes: Codes) -> None:
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
            tower(torch.cat([item.patches for item in part]), grid_thw=_grids(part))
            given = torch.cat([inputs[0], torch.ones(len(inputs[0]), 1)], 1).double()
            wanted = torch.cat([codes.of(item.signs) for item in part]).double()
            # Most spots show nothing: what shows something counts more.
            weight = torch.cat([1 + (_SHOWN_WEIGHT - 1) * (item.signs.flatten() > 0) for item in part])[:, None]
            products += (given * weight).T @ given
            targets += (given * weight).T @ wanted
    finally:
        hook.remove()
    products += _RIDGE * products.diagonal().mean() * torch.eye(size)
    fitted = torch.linalg.solve(products, targets)
    layer.weight.copy_(fitted[:-1].T)
    layer.bias.copy_(fitted[-1])


def _read(model: Any, processor: Any, items: Batch, codes: Codes, recipe: SheetPretext, workers: Workers) -> None:
    """The text part learns to answer from codes; at first only to read whole grids in reading order."""
    text = model.model.language_model
    updates = Updates(text.parameters(), recipe.read_rate, recipe.read_steps)
    draw, noise = random.Random(recipe.seed), torch.Generator().manual_seed(recipe.seed)
    squares = [item for item in items if is_square(item.sheet)]
    for step in shown(range(recipe.read_steps), "offline base: reading"):
        plain = step < _PLAIN_ALONE * recipe.read_steps
        batch = draw.sample(squares if plain else items, recipe.batch)
        asked = [_asked(processor, codes, item, draw.randrange(2**31), plain, noise) for item in batch]

        def loss(part: Sequence[_Asked]) -> Tensor:
            ids, mask, labels = padded([one.row for one in part], processor.tokenizer.pad_token_id)
            is_image = ids == model.config.image_token_id
            positions, _ = model.model.get_rope_index(
                ids,
                mm_token_type_ids=is_image.long(),
                image_grid_thw=_grids([one.item for one in part]),
                attention_mask=mask,
            )
            words = text.embed_tokens(ids)
            seen = torch.cat([one.codes for one in part])
            states = text(
                inputs_embeds=words.masked_scatter(is_image[..., None].expand_as(words), seen),
                position_ids=positions,
                attention_mask=mask,
                use_cache=False,
            ).last_hidden_state
            logits = model.lm_head(states[:, :-1])
            read: Tensor = nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
            return read

        workers.backward(asked, loss)
        updates.step()


def _join(model: Any, processor: Any, items: Batch, recipe: SheetPretext, workers: Workers) -> None:
    """Both halves together answer about what is on the sheets."""
    with torch.no_grad():
        for merger in model.model.visual.deepstack_merger_list:  # the text part has not met what they add
            merger.linear_fc2.weight *= _QUIET
            merger.linear_fc2.bias.zero_()
    updates = Updates(model.parameters(), recipe.join_rate, recipe.join_steps)
    draw = random.Random(recipe.seed + 1)
    for _ in shown(range(recipe.join_steps), "offline base: answering"):
        batch = draw.sample(items, recipe.batch)
        # Tokenizing stays in one thread: the tokenizer is not to be shared by two.
        asked = [(item, _row(processor, item, sheet_lesson(item.sheet, draw.randrange(2**31)))) for item in batch]

        def loss(part: Sequence[tuple[_Item, Row]]) -> Tensor:
            ids, mask, labels = padded([row for _, row in part], processor.tokenizer.pad_token_id)
            said: Tensor = model(
                input_ids=ids,
                attention_mask=mask,
                labels=labels,
                mm_token_type_ids=(ids == model.config.image_token_id).long(),
                pixel_values=torch.cat([item.patches for item, _ in part]),
                image_grid_thw=_grids([item for item, _ in part]),
                use_cache=False,
            ).loss
            return said

        workers.backward(asked, loss)
        updates.step()


@dataclass(frozen=True)
class _Asked:
    """A question about a sheet, and the codes (H * W, width) in the place of its image."""

    item: _Item
    row: Row
    codes: Tensor


def _asked(processor: Any, codes: Codes, item: _Item, seed: int, plain: bool, noise: torch.Generator) -> _Asked:
    taught = plain_reading(item.sheet) if plain else sheet_lesson(item.sheet, seed)
    seen = codes.of(item.signs)
    return _Asked(item, _row(processor, item, taught), seen + _NOISE * SCALE * torch.randn(seen.shape, generator=noise))


def _row(processor: Any, item: _Item, taught: Lesson) -> Row:
    return encode(processor, taught, item.grid)


def _item(processor: Any, drawn: Sheet) -> _Item:
    made = processor.image_processor([drawn.image], return_tensors="pt")
    grid, size = made["image_grid_thw"][0], processor.image_processor.merge_size
    values = made["pixel_values"].reshape(len(made["pixel_values"]), 3, _FRAMES, -1)[:, :, 0]
    rows, columns = (int(n) // size for n in grid[1:])
    pixels = ((values + 1) * 127.5).round().to(torch.uint8)
    return _Item(drawn, pixels, grid, torch.from_numpy(drawn.signs(rows, columns)))


def _grids(items: Batch) -> Tensor:
    return torch.stack([item.grid for item in items])
