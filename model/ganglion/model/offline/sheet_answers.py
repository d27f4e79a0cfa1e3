"""Questions about sheets as a model gets them, and what it learns of each: the answer, and where what it names stands.

The second is told halfway through the text part, at every token that names an icon of the page, by a readout that is
thrown away. Looking up by name is found in some hundred steps so, among many icons from the start; from the answers
alone it was not found in a thousand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.offline.codes import Codes
from ganglion.model.offline.commands import command
from ganglion.model.offline.icons import ICONS
from ganglion.model.offline.pretext import encode
from ganglion.model.offline.sheet_items import answer_loss
from ganglion.model.offline.sheet_lessons import sheet_lesson
from ganglion.model.offline.signs import Grid, Shown, icon_sign
from ganglion.model.offline.steps import Row, Updates, Workers, padded
from ganglion.model.offline.text_pretext import encode_text

_HALFWAY = 1  # the layer of the text part that is asked where things are
_OWN = 0.5  # share of what an icon's name began with beside what the icon says
_NOWHERE, _NOTHING = torch.zeros(0, 3), torch.zeros(0)


@dataclass(frozen=True)
class Asked:
    """A question with its answer.

    row    their tokens
    seen   what it is about: codes (H * W, width) or patches (patches, values); nothing if it is text alone
    grid   (3,) of patches
    named  (n, 3) tokens that name an icon of the page: position in the row, and y and x of the icon, parts of the sides
    """

    row: Row
    seen: Tensor = _NOTHING
    grid: Tensor = _NOTHING
    named: Tensor = _NOWHERE


Logits = Callable[[Tensor, Tensor, Sequence[Asked]], Tensor]
"""ids (B, T), mask (B, T) and the questions with something seen -> (B, T, vocabulary)."""


class Questions:
    """Lessons as rows of tokens for a processor."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._names = {token: name for name in ICONS for token in tokens_of(name, processor.tokenizer)}

    def about(self, shown: Shown, seed: int, seen: Tensor, grid: Tensor) -> Asked:
        """Something about a sheet; see `Asked`."""
        row = encode(self._processor, sheet_lesson(shown, seed), grid)
        return Asked(row, seen, grid, self._named(row, shown))

    def in_text(self, seed: str) -> Asked:
        """A command in made-up words."""
        return Asked(encode_text(self._processor.tokenizer, command(seed)))

    def _named(self, row: Row, shown: Shown) -> Tensor:
        if isinstance(shown, Grid):
            return _NOWHERE
        width, height = shown.size
        places = {badge.name: (badge.middle[1] / height, badge.middle[0] / width) for badge in shown.badges}
        named = ((at, self._names.get(token, "")) for at, token in enumerate(row[0] + row[1]))
        return torch.tensor([(at, *places[name]) for at, name in named if name in places]).view(-1, 3)


@torch.no_grad()
def name_icons(embeddings: Tensor, tokenizer: Any, codes: Codes) -> None:
    """Let the embedding of an icon's name resemble what a spot that shows it says, in place."""
    usual = embeddings.std()
    for name in ICONS:
        said = codes.of_sign(icon_sign(name))
        for token in tokens_of(name, tokenizer):
            mixed = said / said.std() + _OWN * embeddings[token] / embeddings[token].std()
            embeddings[token] = mixed / mixed.std() * usual


def tokens_of(name: str, tokenizer: Any) -> list[int]:
    """The token of an icon's name without a space before it, and with one."""
    ids: list[int] = tokenizer.convert_tokens_to_ids([name, *tokenizer.tokenize(f" {name}")])
    return ids


def learn_answers(
    model: Any,
    tokenizer: Any,
    codes: Codes,
    batches: Iterable[Sequence[Asked]],
    logits: Logits,
    place: nn.Module,
    updates: Updates,
    workers: Workers,
) -> None:
    """Train on the batches, in place. place: the readout, among what is updated."""
    halfway = threading.local()  # each of the workers keeps its own
    layer = model.model.language_model.layers[_HALFWAY]
    hook = layer.register_forward_hook(lambda _layer, _given, states: setattr(halfway, "states", states))

    def loss(part: Sequence[Asked]) -> Tensor:
        ids, mask, labels = padded([one.row for one in part], tokenizer.pad_token_id)
        total = answer_loss(logits(ids, mask, [one for one in part if len(one.seen)]), labels)
        if not any(len(one.named) for one in part):
            return total
        known = place(torch.cat([halfway.states[k, one.named[:, 0].long()] for k, one in enumerate(part)]))
        places = codes.places(torch.cat([one.named[:, 1:] for one in part]))
        return total + nn.functional.mse_loss(known, places) / codes.place_variance

    try:
        for batch in batches:
            workers.backward(batch, loss)
            updates.step()
    finally:
        hook.remove()
