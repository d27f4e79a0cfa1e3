"""Questions about sheets as a model gets them, and what it learns of each: the answer, and where what it names stands.

The second is told halfway through the text part by a readout that is thrown away: what and where an icon of the page
is, at every token that names it and at the one before its name in an answer. From codes, among up to 12 icons, 0.90 of
the first digits of places and 0.88 of the names are right after 600 steps so; told at names only, 0.94 and 0.61; from
the answers alone, with few icons at first, 0.35 of the first digits after 1,100 steps.
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
_NOWHERE, _NOTHING = torch.zeros(0, dtype=torch.long), torch.zeros(0)


@dataclass(frozen=True)
class Asked:
    """A question with its answer.

    row    their tokens
    seen   what it is about: codes (H * W, width) or patches (patches, values); nothing if it is text alone
    grid   (3,) of patches
    at     (n,) int64 positions in the row at which an icon of the page is known
    known  (n, width) codes of these icons: what and where they are
    """

    row: Row
    seen: Tensor = _NOTHING
    grid: Tensor = _NOTHING
    at: Tensor = _NOWHERE
    known: Tensor = _NOTHING


Logits = Callable[[Tensor, Tensor, Sequence[Asked]], Tensor]
"""ids (B, T), mask (B, T) and the questions with something seen -> (B, T, vocabulary)."""


class Questions:
    """Lessons as rows of tokens for a processor."""

    def __init__(self, processor: Any, codes: Codes) -> None:
        self._processor, self._codes = processor, codes
        self._names = {token: name for name in ICONS for token in tokens_of(name, processor.tokenizer)}

    def about(self, shown: Shown, seed: int, seen: Tensor, grid: Tensor) -> Asked:
        """Something about a sheet; see `Asked`."""
        row = encode(self._processor, sheet_lesson(shown, seed), grid)
        return Asked(row, seen, grid, *self._known(row, shown))

    def in_text(self, seed: str) -> Asked:
        """A command in made-up words."""
        return Asked(encode_text(self._processor.tokenizer, command(seed)))

    def _known(self, row: Row, shown: Shown) -> tuple[Tensor, Tensor]:
        if isinstance(shown, Grid):
            return _NOWHERE, _NOTHING
        (prompt, answer), (width, height) = row, shown.size
        badges = {badge.name: badge for badge in shown.badges}
        named = [(at, self._names.get(token, "")) for at, token in enumerate(prompt + answer)]
        named += [(at - 1, name) for at, name in named if at >= len(prompt)]
        found = [(at, badges[name]) for at, name in named if name in badges]
        places = torch.tensor([(one.middle[1] / height, one.middle[0] / width) for _, one in found]).view(-1, 2)
        signs = torch.tensor([one.sign for _, one in found]).view(-1, 4)
        return torch.tensor([at for at, _ in found], dtype=torch.long), self._codes.at(signs, places)


@torch.no_grad()
def name_icons(embeddings: Tensor, tokenizer: Any, codes: Codes) -> None:
    """Let the embedding of an icon's name resemble what a spot that shows it says, in place."""
    usual = embeddings.std()
    for name in ICONS:
        said = codes.of_signs(torch.tensor([icon_sign(name)]))[0]
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
    batches: Iterable[Sequence[Asked]],
    logits: Logits,
    readout: nn.Module,
    updates: Updates,
    workers: Workers,
) -> None:
    """Train on the batches, in place. readout: (n, width) -> (n, width), among what is updated."""
    halfway = threading.local()  # each of the workers keeps its own
    layer = model.model.language_model.layers[_HALFWAY]
    hook = layer.register_forward_hook(lambda _layer, _given, states: setattr(halfway, "states", states))

    def loss(part: Sequence[Asked]) -> Tensor:
        ids, mask, labels = padded([one.row for one in part], tokenizer.pad_token_id)
        total = answer_loss(logits(ids, mask, [one for one in part if len(one.seen)]), labels)
        if not any(len(one.at) for one in part):
            return total
        told = readout(torch.cat([halfway.states[k, one.at] for k, one in enumerate(part)]))
        known = torch.cat([one.known for one in part if len(one.at)])
        return total + nn.functional.mse_loss(told, known) / known.var()

    try:
        for batch in batches:
            workers.backward(batch, loss)
            updates.step()
    finally:
        hook.remove()
