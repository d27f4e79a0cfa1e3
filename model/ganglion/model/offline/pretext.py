"""The pretext training: generic drawings, first measured, then talked about.

First the network learns to measure drawings: linear readouts, thrown away afterwards, tell the region of every spot
from the image's tokens, and a drawing's measures both from them and from what the text part makes of them at the end
of a short prompt. Then it learns to answer lessons in JSON, and goes on measuring beside it. Both are short: a
fine-tune should find a network that can see, count and write, not one that knows anything.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ganglion.model.offline.canvas import CELL, REGIONS, SIDE
from ganglion.model.offline.drawings import MEASURES, Drawing, draw
from ganglion.model.offline.lessons import Lesson, lesson
from ganglion.model.offline.whitening import whiten_patches


@dataclass(frozen=True)
class Pretext:
    """How much is learned, and how fast.

    One thread: tensors are so small that a second one gains a third on a quiet machine, and on a busy one its waiting
    makes a step ten times slower (measured).
    """

    drawings: int = 3000
    seed: int = 7
    threads: int = 1
    batch: int = 16
    see_steps: int = 600
    see_rate: float = 1.5e-3
    say_steps: int = 240
    say_rate: float = 1.5e-3
    measure_weight: float = 0.3


RECIPE = Pretext()
Batch = list[int]


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
    with torch.random.fork_rng(devices=[]), _threads(recipe.threads):
        torch.manual_seed(recipe.seed)
        material = _prepare(processor, recipe)
        whiten_patches(model.model.visual, material.pixels[:500])
        readout = _Readout(model, material)
        model.train()
        _see(model, processor, material, readout, recipe)
        _say(model, processor, material, readout, recipe)
        model.eval()


class _Readout(nn.Module):
    """Linear readouts of the image tokens and of the text part's last state, and their loss."""

    def __init__(self, model: Any, material: _Material) -> None:
        super().__init__()
        width = model.config.get_text_config().hidden_size
        _, tokens, self.spots = material.regions.shape
        self.regions = nn.Linear(width, self.spots * len(REGIONS))
        self.from_image = nn.Linear(tokens * width, len(MEASURES))
        self.from_text = nn.Linear(width, len(MEASURES))

    def forward(self, image_BTW: Tensor, text_BW: Tensor | None, material: _Material, batch: Batch) -> Tensor:
        wanted, region = material.measures[batch], material.regions[batch]
        known = ~wanted.isnan()
        guesses = [self.from_image(image_BTW.flatten(1))]
        if text_BW is not None:
            guesses.append(self.from_text(text_BW))
        loss = nn.functional.cross_entropy(self.regions(image_BTW).reshape(-1, len(REGIONS)), region.flatten())
        for guess in guesses:
            loss = loss + nn.functional.smooth_l1_loss(guess[known], wanted[known], beta=0.3)
        return loss


def _see(model: Any, processor: Any, material: _Material, readout: _Readout, recipe: Pretext) -> None:
    prompt, _ = encode(processor, Lesson("", ""), material.grid[0])
    ids = torch.tensor(prompt).expand(recipe.batch, -1)
    optimizer, schedule = _optimizer([*model.parameters(), *readout.parameters()], recipe.see_rate, recipe.see_steps)
    caught, hook = _catch_image_tokens(model)
    for batch in _shown(_batches(recipe.drawings, recipe.batch, recipe.see_steps, recipe.seed), "offline base: seeing"):
        state = model.model(
            input_ids=ids, mm_token_type_ids=_is_image(model, ids), use_cache=False, **material.images(batch)
        ).last_hidden_state
        _step(readout(_per_image(caught[-1], batch), state[:, -1], material, batch), optimizer, schedule)
    hook.remove()


def _say(model: Any, processor: Any, material: _Material, readout: _Readout, recipe: Pretext) -> None:
    optimizer, schedule = _optimizer([*model.parameters(), *readout.parameters()], recipe.say_rate, recipe.say_steps)
    caught, hook = _catch_image_tokens(model)
    batches = _batches(recipe.drawings, recipe.batch, recipe.say_steps, recipe.seed + 1)
    for step, batch in enumerate(_shown(batches, "offline base: answering")):
        taught = [lesson(material.drawings[k], step * recipe.drawings + k) for k in batch]
        rows = [encode(processor, one, material.grid[k]) for one, k in zip(taught, batch, strict=True)]
        ids, mask, labels = padded(rows, processor.tokenizer.pad_token_id)
        said = model(
            input_ids=ids,
            attention_mask=mask,
            labels=labels,
            mm_token_type_ids=_is_image(model, ids),
            use_cache=False,
            **material.images(batch),
        ).loss
        seen = readout(_per_image(caught[-1], batch), None, material, batch)
        _step(said + recipe.measure_weight * seen, optimizer, schedule)
    hook.remove()


def encode(processor: Any, taught: Lesson, grid: Tensor) -> tuple[list[int], list[int]]:
    """Token ids of a lesson's prompt, image placeholders included, and of its answer; `grid` (3,) is the image's."""
    content = [{"type": "image"}, {"type": "text", "text": taught.prompt}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    places = int(grid.prod()) // processor.image_processor.merge_size**2
    tokens = processor.tokenizer
    prompt = tokens(chat.replace(processor.image_token, processor.image_token * places))["input_ids"]
    return prompt, tokens(taught.answer + tokens.eos_token)["input_ids"]


def padded(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and labels of (prompt, answer) rows, each int64 (B, T); only answers are labeled."""
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, labels = torch.full((len(rows), length), pad), torch.full((len(rows), length), -100)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for k, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[k, :end] = torch.tensor(prompt + answer)
        labels[k, len(prompt) : end] = torch.tensor(answer)
        mask[k, :end] = 1
    return ids, mask, labels


def _prepare(processor: Any, recipe: Pretext) -> _Material:
    drawings = [draw(recipe.seed, k) for k in _shown(list(range(recipe.drawings)), "offline base: drawing")]
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


def _catch_image_tokens(model: Any) -> tuple[list[Tensor], Any]:
    """A list whose last entry is what the vision tower gave the text part last, (B * tokens, width); and its hook."""
    caught: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        caught[:] = [output.pooler_output]

    return caught, model.model.visual.register_forward_hook(keep)


def _per_image(tokens: Tensor, batch: Batch) -> Tensor:
    """(B * T, width) -> (B, T, width)."""
    return tokens.reshape(len(batch), -1, tokens.shape[-1])


def _is_image(model: Any, ids: Tensor) -> Tensor:
    image: int = model.config.image_token_id
    return (ids == image).long()


def _batches(count: int, size: int, steps: int, seed: int) -> list[Batch]:
    """`steps` lists of `size` indices below `count`, in shuffled rounds."""
    rng = random.Random(seed)
    order: list[int] = []
    while len(order) < steps * size:
        order += rng.sample(range(count), count)
    return [order[k * size : (k + 1) * size] for k in range(steps)]


def _optimizer(parameters: list[nn.Parameter], rate: float, steps: int) -> tuple[Any, Any]:
    optimizer = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.98), weight_decay=0.02)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)


def _step(loss: Tensor, optimizer: Any, schedule: Any) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    schedule.step()


def _shown(steps: list[Any], label: str) -> Any:
    return tqdm(steps, desc=label, disable=not sys.stderr.isatty(), leave=False)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
