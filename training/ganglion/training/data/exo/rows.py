"""Rows of a synthetic exo_assist data file: every terrain with every kind of feedback, limit cases included."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ganglion.core.tasks.exo_assist import ASSISTANCE_LIMITS, FEEDBACK, TERRAINS, expected_answer
from ganglion.training.data.exo.terrain import render_terrain

_ROUND = (0, 10, 20)
_MARKS = ("", "", "", ".", "!")


def exo_row(seed: int, index: int, limit_share: float = 0.0, rows_per_image: int = 1) -> dict[str, Any]:
    """Row `index` of the data set `seed`, without its image_path; its image is number `index // rows_per_image`.

    Terrain and feedback kind are balanced over every 30 images, and the rows of one image have different kinds; the
    assistance so far is any whole number within the limits. A model that learns from few rows meets too few of the
    cases at a limit: `limit_share` of the rows that ask for a change have it cut by a limit, and as many of the others
    a round number that only looks like a limit.
    """
    rng = np.random.default_rng([seed, index])
    image, turn = divmod(index, rows_per_image)
    terrain = terrain_of(image)
    kind = list(FEEDBACK)[(image // len(TERRAINS) + turn) % len(FEEDBACK)]
    low, high = ASSISTANCE_LIMITS
    previous = int(rng.integers(low, high + 1))
    if limit_share:
        previous = _near_a_limit(rng, terrain, kind, limit_share)
    return {
        "user_feedback": spoken(rng, FEEDBACK[kind].phrases),
        "previous_assistance": previous,
        "expected_output": expected_answer(terrain, kind, previous),
    }


def _near_a_limit(rng: np.random.Generator, terrain: str, kind: str, share: float) -> int:
    low, high = ASSISTANCE_LIMITS
    asked = expected_answer(terrain, kind, (low + high) / 2)["assistance_delta"]
    cut = [p for p in range(low, high + 1) if expected_answer(terrain, kind, p)["assistance_delta"] != asked]
    choices = [p for p in range(low, high + 1) if p not in cut]
    if cut and rng.random() < share:
        choices = cut
    elif rng.random() < share:
        choices = [p for p in _ROUND if p in choices]
    return int(rng.choice(choices))


def exo_image(seed: int, index: int, size: int) -> Image.Image:
    """Image number `index`, (size, size) RGB."""
    return render_terrain(terrain_of(index), seed, index, size)


def terrain_of(index: int) -> str:
    """The terrain in image number `index`."""
    return list(TERRAINS)[index % len(TERRAINS)]


def spoken(rng: np.random.Generator, phrases: tuple[str, ...]) -> str:
    """One of the phrases, now and then with a capital letter or a mark, as a transcript writes it."""
    phrase = str(rng.choice(phrases))
    if phrase and rng.random() < 0.3:
        phrase = phrase[0].upper() + phrase[1:]
    return phrase + str(rng.choice(_MARKS)) if phrase else phrase
