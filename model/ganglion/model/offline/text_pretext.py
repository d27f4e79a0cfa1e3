"""The pretext training of a language model: commands in made-up words and the programs that they spell out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganglion.model.offline.commands import command
from ganglion.model.offline.lessons import Lesson
from ganglion.model.offline.start import prepare_text
from ganglion.model.offline.steps import Row, Updates, Workers, padded, shown


@dataclass(frozen=True)
class TextPretext:
    """How much is learned, and how fast. A batch is split over `workers`; `pool` batches are sorted by length."""

    seed: int = 7
    workers: int = 2
    batch: int = 16
    pool: int = 20
    steps: int = 2400
    rate: float = 3e-3


TEXT_RECIPE = TextPretext()


def train_text_pretext(model: Any, tokenizer: Any, recipe: TextPretext = TEXT_RECIPE) -> None:
    """Train `model` in place, in float32 on the CPU; torch's random state and thread count are as before after it."""
    with torch.random.fork_rng(devices=[]), Workers(recipe.workers) as workers:
        torch.manual_seed(recipe.seed)
        prepare_text(model.model)
        model.train()
        updates = Updates(model.parameters(), recipe.rate, recipe.steps)

        def loss(rows: Sequence[Row]) -> Tensor:
            ids, mask, labels = padded(rows, tokenizer.pad_token_id)
            read: Tensor = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
            return read

        batches = itertools.islice(_batches(tokenizer, recipe), recipe.steps)
        for rows in shown(batches, "offline base: reading", recipe.steps):
            workers.backward(rows, loss)
            updates.step()
        model.eval()


def _batches(tokenizer: Any, recipe: TextPretext) -> Iterator[list[Row]]:
    """Batches of exercises of about one length, every exercise a new one, without end."""
    rng = random.Random(recipe.seed)
    size = recipe.batch
    for first in itertools.count(step=recipe.pool * size):
        rows = [encode_text(tokenizer, command(f"{recipe.seed} {first + k}")) for k in range(recipe.pool * size)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        batches = [rows[k : k + size] for k in range(0, len(rows), size)]
        yield from rng.sample(batches, len(batches))


def encode_text(tokenizer: Any, taught: Lesson) -> Row:
    """Token ids of a lesson's prompt, as a chat, and of its answer."""
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": taught.prompt}], add_generation_prompt=True, tokenize=False
    )
    return tokenizer(chat)["input_ids"], tokenizer(taught.answer + tokenizer.eos_token)["input_ids"]
