"""The pretext training: generic drawings, first measured, then talked about.

First the network learns to measure drawings: linear readouts, thrown away afterwards, tell the region of every spot
from the image's tokens, and a drawing's measures both from them and from the text part's state at every later word,
whatever the words are. Then it learns to answer lessons in JSON, and goes on measuring beside it. Both are short: a
fine-tune should find a network that can see, count and write, not one that knows anything.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganglion.model.offline.canvas import CELL, REGIONS, SIDE
from ganglion.model.offline.drawings import MEASURES, Drawing, draw
from ganglion.model.offline.lessons import Lesson, lesson
from ganglion.model.offline.start import prepare
from ganglion.model.offline.steps import Row, Updates, Workers, padded, shown
from ganglion.model.offline.words import WORDS


@dataclass(frozen=True)
class Pretext:
    """How much is learned, and how fast. A batch is split over `workers`."""

    drawings: int = 3000
    seed: int = 7
    workers: int = 2
    batch: int = 16
    see_steps: int = 800
    see_rate: float = 1.5e-3
    say_steps: int = 350
    say_rate: float = 1.5e-3
    measure_weight: float = 0.3


RECIPE = Pretext()
Batch = Sequence[int]


@dataclass(frozen=True)
class _Material:
    """N drawings, ready for the model.

    pixels    float16 (N, patches, values), the image processor's
    grid      int64 (N, 3)
    measures  float32 (N, len(MEASURES)), standardized, NaN where a measure doesn't apply
    regions   int64 (N, tokens, spots per token)
    """

    drawings: Sequence[Drawing]
    pixels: Tensor
    grid: Tensor
    measures: Tensor
    regions: Tensor

    def images(self, batch: Batch) -> dict[str, Tensor]:
        """The model's image inputs for some of the drawings."""
        return {"pixel_values": self.pixels[batch].float().flatten(0, 1), "image_grid_thw": self.grid[batch]}


def train_pretext(model: Any, processor: Any, recipe: Pretext = RECIPE) -> None:
    """Train `model` in place, in float32 on the CPU; torch's random state and thread count are as before after it."""
    with torch.random.fork_rng(devices=[]), Workers(recipe.workers) as workers:
        torch.manual_seed(recipe.seed)
        material = _prepare(processor, recipe)
        prepare(model, material.pixels[:500])
        readout = _Readout(model, material)
        model.train()
        _see(model, processor, material, readout, recipe, workers)
        _say(model, processor, material, readout, recipe, workers)
        model.eval()


@dataclass(frozen=True)
class _Seen:
    """Caught in one forward pass: image tokens (B, N, width), last states of the text part (B, T, width)."""

    image_tokens: list[Tensor]
    text_states: list[Tensor]


class _Readout(nn.Module):
    """Linear readouts of the image tokens and of the text part's last states, and their loss."""

    def __init__(self, model: Any, material: _Material) -> None:
        super().__init__()
        width = model.config.get_text_config().hidden_size
        _, tokens, self.spots = material.regions.shape
        self.regions = nn.Linear(width, self.spots * len(REGIONS))
        self.from_image = nn.Linear(tokens * width, len(MEASURES))
        self.from_text = nn.Linear(width, len(MEASURES))

    def forward(self, seen: _Seen, reads_BT: Tensor, material: _Material, batch: Batch) -> Tensor:
        """The loss; `reads_BT` (B, T) bool says at which words the measures are read."""
        image_BNW, text_BTW = seen.image_tokens[0], seen.text_states[0]
        wanted, region = material.measures[batch], material.regions[batch]
        loss = nn.functional.cross_entropy(self.regions(image_BNW).reshape(-1, len(REGIONS)), region.flatten())
        rows, _ = reads_BT.nonzero(as_tuple=True)
        for guess, right in (
            (self.from_image(image_BNW.flatten(1)), wanted),
            (self.from_text(text_BTW[reads_BT]), wanted[rows]),
        ):
            known = ~right.isnan()
            loss = loss + nn.functional.smooth_l1_loss(guess[known], right[known], beta=0.3)
        return loss


def _see(model: Any, processor: Any, material: _Material, readout: _Readout, recipe: Pretext, workers: Workers) -> None:
    updates = Updates([*model.parameters(), *readout.parameters()], recipe.see_rate, recipe.see_steps)
    batches = _batches(recipe.drawings, recipe.batch, recipe.see_steps, recipe.seed)
    for step, batch in enumerate(shown(batches, "offline base: seeing")):
        words = random.Random(step)
        # Tokenizing stays in one thread: the tokenizer is not to be shared by two.
        rows = {
            k: encode(processor, Lesson(" ".join(words.choices(WORDS, k=words.randint(0, 8))), ""), material.grid[k])
            for k in batch
        }

        def loss(part: Batch, rows: Mapping[int, Row] = rows) -> Tensor:
            ids, mask, _ = padded([rows[k] for k in part], processor.tokenizer.pad_token_id)
            is_image = _is_image(model, ids)
            with _watched(model, len(part)) as seen:
                model.model(
                    input_ids=ids,
                    attention_mask=mask,
                    mm_token_type_ids=is_image,
                    use_cache=False,
                    **material.images(part),
                )
            after = (is_image.cumsum(1) == is_image.sum(1, keepdim=True)) & (is_image == 0) & (mask == 1)
            measured: Tensor = readout(seen, after, material, part)
            return measured

        workers.backward(batch, loss)
        updates.step()


def _say(model: Any, processor: Any, material: _Material, readout: _Readout, recipe: Pretext, workers: Workers) -> None:
    updates = Updates([*model.parameters(), *readout.parameters()], recipe.say_rate, recipe.say_steps)
    batches = _batches(recipe.drawings, recipe.batch, recipe.say_steps, recipe.seed + 1)
    for step, batch in enumerate(shown(batches, "offline base: answering")):
        seeds = {k: step * recipe.drawings + k for k in batch}
        rows = {k: encode(processor, lesson(material.drawings[k], seeds[k]), material.grid[k]) for k in batch}

        def loss(part: Batch, rows: Mapping[int, Row] = rows) -> Tensor:
            ids, mask, labels = padded([rows[k] for k in part], processor.tokenizer.pad_token_id)
            with _watched(model, len(part)) as seen:
                said = model(
                    input_ids=ids,
                    attention_mask=mask,
                    labels=labels,
                    mm_token_type_ids=_is_image(model, ids),
                    use_cache=False,
                    **material.images(part),
                ).loss
            both: Tensor = said + recipe.measure_weight * readout(seen, labels >= 0, material, part)
            return both

        workers.backward(batch, loss)
        updates.step()


def encode(processor: Any, taught: Lesson, grid: Tensor) -> Row:
    """Token ids of a lesson's prompt, image placeholders included, and of its answer; `grid` (3,) is the image's."""
    content = [{"type": "image"}, {"type": "text", "text": taught.prompt}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    places = int(grid.prod()) // processor.image_processor.merge_size**2
    tokens = processor.tokenizer
    prompt = tokens(chat.replace(processor.image_token, processor.image_token * places))["input_ids"]
    return prompt, tokens(taught.answer + tokens.eos_token)["input_ids"]


def _prepare(processor: Any, recipe: Pretext) -> _Material:
    drawings = [draw(recipe.seed, k) for k in shown(list(range(recipe.drawings)), "offline base: drawing")]
    done = [
        processor.image_processor([drawing.image for drawing in drawings[k : k + 50]], return_tensors="pt")
        for k in range(0, len(drawings), 50)
    ]
    grid = torch.cat([part["image_grid_thw"] for part in done])
    pixels = torch.cat([part["pixel_values"].half() for part in done])
    measures = torch.tensor([[one.measures.get(name, float("nan")) for name in MEASURES] for one in drawings])
    mean = measures.nanmean(0)
    scale = (measures - mean).square().nanmean(0).sqrt()
    rows, columns = (int(n) // processor.image_processor.merge_size for n in grid[0, 1:])
    cells = SIDE // CELL
    regions = torch.from_numpy(np.stack([one.regions for one in drawings])).long()
    regions = regions.reshape(-1, rows, cells // rows, columns, cells // columns).transpose(2, 3)
    return _Material(
        drawings,
        pixels.reshape(len(drawings), -1, pixels.shape[-1]),
        grid,
        (measures - mean) / scale,
        regions.reshape(len(drawings), rows * columns, -1),
    )


@contextmanager
def _watched(model: Any, count: int) -> Iterator[_Seen]:
    """Catch what one forward pass of `count` prompts computes on its way, in this thread only."""
    seen = _Seen([], [])
    thread = threading.get_ident()

    def keep_image(_module: Any, _inputs: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            tokens = output.pooler_output
            seen.image_tokens.append(tokens.reshape(count, -1, tokens.shape[-1]))

    def keep_text(_module: Any, _inputs: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            seen.text_states.append(output.last_hidden_state)

    hooks = [
        model.model.visual.register_forward_hook(keep_image),
        model.model.language_model.register_forward_hook(keep_text),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _is_image(model: Any, ids: Tensor) -> Tensor:
    image: int = model.config.image_token_id
    return (ids == image).long()


def _batches(count: int, size: int, steps: int, seed: int) -> list[list[int]]:
    """`steps` lists of `size` indices below `count`, in shuffled rounds."""
    rng = random.Random(seed)
    order: list[int] = []
    while len(order) < steps * size:
        order += rng.sample(range(count), count)
    return [order[k * size : (k + 1) * size] for k in range(steps)]
