"""Synthetic exo_assist dialogues: a row of `rows` as first turn, then more feedback, now and then on new ground.

The assistance runs on from turn to turn by the rule table, so it stays within the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganglion.core.tasks.exo_rules import FEEDBACK, TERRAINS, expected_answer
from ganglion.training.data.exo.rows import exo_row, spoken, terrain_of

# Later images are numbered from here on, so that they share no number with a row's own.
_LATER_IMAGES = 10_000_000
_NEW_IMAGE_SHARE = 1 / 3
_STREAM = 0xD1A  # apart from the random numbers of the row itself


@dataclass(frozen=True)
class _Turn:
    """What comes after the first turn: a kind of feedback as spoken, and the number of a new image or None."""

    kind: str
    said: str
    image: int | None


def exo_dialogue(
    seed: int,
    index: int,
    turns_max: int,
    image_path: Callable[[int], str],
    limit_share: float = 0.0,
    rows_per_image: int = 1,
) -> dict[str, Any]:
    """Row `index` of the data set `seed`, without its image_path: of 1 to `turns_max` turns, as likely each.

    A row of one turn is that of `exo_row`.

    Args:
        seed: names the data set.
        index: names the row in it.
        turns_max: most turns.
        image_path: gives the path of an image by its number; a later turn may bring one of `later_images`.
        limit_share: as for `exo_row`, of the first turn.
        rows_per_image: as for `exo_row`.
    """
    first = exo_row(seed, index, limit_share, rows_per_image)
    later = _later_turns(seed, index, turns_max)
    if not later:
        return first
    level = first.pop("previous_assistance")
    dialogue = {"previous_assistance": level, "turns": [first]}
    terrain = first["expected_output"]["task"]
    for turn in later:
        level += dialogue["turns"][-1]["expected_output"]["assistance_delta"]
        terrain = terrain if turn.image is None else terrain_of(turn.image)
        row = {"user_feedback": turn.said, "expected_output": expected_answer(terrain, turn.kind, level)}
        dialogue["turns"].append(row if turn.image is None else {"image_path": image_path(turn.image), **row})
    return dialogue


def later_images(seed: int, count: int, turns_max: int) -> list[int]:
    """Numbers of the images, for `exo_image`, that turns after the first bring in the rows 0 to `count` - 1."""
    turns = (turn for index in range(count) for turn in _later_turns(seed, index, turns_max))
    return [turn.image for turn in turns if turn.image is not None]


def _later_turns(seed: int, index: int, turns_max: int) -> list[_Turn]:
    rng = np.random.default_rng([seed, index, _STREAM])
    turns = []
    for turn in range(1, int(rng.integers(1, turns_max + 1))):
        kind = str(rng.choice(list(FEEDBACK)))
        image = None
        if rng.random() < _NEW_IMAGE_SHARE:  # its terrain is drawn too: it must not follow from the first one's
            place = (index * turns_max + turn) * len(TERRAINS)
            image = _LATER_IMAGES + place + int(rng.integers(len(TERRAINS)))
        turns.append(_Turn(kind, spoken(rng, FEEDBACK[kind].phrases), image))
    return turns
