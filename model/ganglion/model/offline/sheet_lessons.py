"""Questions about sheets and their answers in JSON: read a grid, find a label, say what is at a point."""

from __future__ import annotations

import json
import random

from ganglion.model.offline.lessons import Lesson
from ganglion.model.offline.sheets import LABELS, Grid, Label, Page, Sheet

_SQUARE = 8
_USUAL = 0.8  # share of each usual way of reading
_PARTS = 1000  # points are in thousandths of width and height


def sheet_lesson(sheet: Sheet, seed: int) -> Lesson:
    """A lesson about the sheet; another seed asks for something else."""
    rng = random.Random(seed)
    if isinstance(sheet.shown, Grid):
        return _read(sheet.shown, rng)
    return _find(sheet.shown, sheet.image.size, rng)


def is_square(sheet: Sheet) -> bool:
    """A grid of as many cells as a square image of this family has tokens: eight by eight."""
    return isinstance(sheet.shown, Grid) and len(sheet.shown.cells) == len(sheet.shown.cells[0]) == _SQUARE


def plain_reading(sheet: Sheet) -> Lesson:
    """The grid in reading order, from the upper left."""
    assert isinstance(sheet.shown, Grid)
    return _reading(sheet.shown, from_top=True, from_left=True, down=True)


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


def _find(page: Page, size: tuple[int, int], rng: random.Random) -> Lesson:
    """Where a label is, which one is at a point, or where one of some noted words is."""
    label = rng.choice(page.labels)
    at = _middle(label, size)
    kind = rng.random()
    if kind < 0.45:
        return Lesson(f'Where is "{label.word}"?', json.dumps({"word": label.word, "at": at}))
    if kind < 0.7:
        return Lesson(f"What is at [{at[0]}, {at[1]}]?", json.dumps({"word": label.word}))
    shown = {one.word for one in page.labels}
    noted = [word for word in rng.sample(LABELS, 5) if word not in shown][: rng.randint(0, 2)]
    noted.insert(rng.randint(0, len(noted)), label.word)
    told = "; ".join(f"{number}. {word}" for number, word in enumerate(noted, 1))
    asked = f"Noted: {told}. Find number {noted.index(label.word) + 1}."
    return Lesson(asked, json.dumps({"word": label.word, "at": at}))


def _middle(label: Label, size: tuple[int, int]) -> list[int]:
    x0, y0, x1, y1 = label.box
    return [round(_PARTS * (x0 + x1) / 2 / size[0]), round(_PARTS * (y0 + y1) / 2 / size[1])]
