"""Questions about what a sheet shows and their answers in JSON: read a grid, find badges, say what is on a side."""

from __future__ import annotations

import json
import random

from ganglion.model.offline.icons import ICONS
from ganglion.model.offline.lessons import Lesson
from ganglion.model.offline.signs import Badge, Grid, Page, Shown

_USUAL = 0.8  # share of each usual way of reading
_PARTS, _EXACT = 1000, 10  # points are in thousandths of width and height, to the nearest ten
_MOST_ASKED = 4
_SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}  # x or y, and which way it grows inward


def sheet_lesson(shown: Shown, seed: int) -> Lesson:
    """A lesson about the sheet; another seed asks for something else."""
    rng = random.Random(seed)
    return _read(shown, rng) if isinstance(shown, Grid) else _find(shown, rng)


def _read(grid: Grid, rng: random.Random) -> Lesson:
    """All rows, numbered from either end, listed down or up, each from either side; mostly in reading order."""
    return _reading(grid, *(rng.random() < _USUAL for _ in range(3)))


def _reading(grid: Grid, from_top: bool, from_left: bool, down: bool) -> Lesson:
    rows = [" ".join(sign or "." for sign in (row if from_left else row[::-1])) for row in grid.cells]
    numbers = [str(k + 1 if from_top else len(rows) - k) for k in range(len(rows))]
    listed = list(zip(numbers, rows, strict=True))
    asked = (
        f"Read the grid {'down' if down else 'up'}. Row 1 is at the {'top' if from_top else 'bottom'}. "
        f"Start at the {'left' if from_left else 'right'}."
    )
    return Lesson(asked, json.dumps({"grid": dict(listed if down else listed[::-1])}))


def _find(page: Page, rng: random.Random) -> Lesson:
    """Where some badges are, which one is outermost on a side, or where one of some noted ones is."""
    some = rng.sample(page.badges, min(len(page.badges), rng.randint(1, _MOST_ASKED)))
    kind = rng.random()
    if kind < 0.5:
        return Lesson(f"Where is {', '.join(one.name for one in some)}?", _places(page, some))
    if kind < 0.75:
        side, (axis, way) = rng.choice([*_SIDES.items()])
        outermost = min(page.badges, key=lambda one: way * one.middle[axis])
        return Lesson(f"What is at the {side}?", _places(page, [outermost]))
    others = [name for name in ICONS if not _has(page, name)]
    noted = rng.sample(others, rng.randint(0, 2))
    noted.insert(rng.randint(0, len(noted)), some[0].name)
    told = "; ".join(f"{number}. {name}" for number, name in enumerate(noted, 1))
    asked = f"Noted: {told}. Find number {noted.index(some[0].name) + 1}."
    return Lesson(asked, _places(page, some[:1]))


def _places(page: Page, badges: list[Badge]) -> str:
    return json.dumps([{"sign": badge.name, "at": _middle(page, badge)} for badge in badges])


def _middle(page: Page, badge: Badge) -> list[int]:
    parts = (at / side for at, side in zip(badge.middle, page.size, strict=True))
    return [round(_PARTS / _EXACT * part) * _EXACT for part in parts]


def _has(page: Page, name: str) -> bool:
    return name in {badge.name for badge in page.badges}
