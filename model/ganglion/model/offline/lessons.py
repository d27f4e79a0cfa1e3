"""Questions about a drawing and small text exercises, with their answers in JSON: what the pretext training says.

A lesson is one question about the drawing and mostly one exercise: repeat the first or last word of a quoted phrase,
compare two numbers, or, most often, add to one without leaving given bounds: of the three it is learned the slowest.
The answer is one flat JSON object, drawing first.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from ganglion.model.offline.drawings import FILLS, Drawing
from ganglion.model.offline.words import WORDS

Answer = dict[str, Any]
_NOTED = WORDS[200:240]


@dataclass(frozen=True)
class Lesson:
    """A user's turn about one image, and the JSON answer."""

    prompt: str
    answer: str


def lesson(drawing: Drawing, seed: int) -> Lesson:
    """A lesson about `drawing`; another seed gives other questions."""
    rng = random.Random(seed)
    asked, seen = {"strip": _strip, "marks": _marks, "stripes": _stripes}[drawing.kind](drawing, rng)
    told, said = rng.choice((_nothing, _phrase, _bounded_sum, _bounded_sum, _bounded_sum, _compared))(rng)
    parts = [part for part in (told, asked) if part]
    if rng.random() < 0.3:
        parts.reverse()
    return Lesson(" ".join([*parts, "Write JSON."]), json.dumps(seen | said))


def _strip(drawing: Drawing, rng: random.Random) -> tuple[str, Answer]:
    m = drawing.measures
    fill = next((name for name in FILLS[1:] if m[name]), FILLS[0])
    tip = _side(m["split_y"] - m["tip_y"], ("below", "at split", "above"), 0.015)
    end = _bin(m["blunt"] / 2, (0.06, 0.3), ("pointed", "narrow", "wide"))
    asked = rng.choice(("Describe the strip.", "What does the strip look like?"))
    return asked, {"fill": fill, "end": end, "tip": tip, "tip_row": _tenths(m["tip_y"]), "split": _tenths(m["split_y"])}


def _marks(drawing: Drawing, rng: random.Random) -> tuple[str, Answer]:
    first = drawing.marks[0]
    answer = {"shape": first.shape, "color": first.color, "column": _tenths(first.x), "row": _tenths(first.y)}
    return rng.choice(("Where is the leftmost mark?", "Locate the leftmost mark.")), answer


def _stripes(drawing: Drawing, rng: random.Random) -> tuple[str, Answer]:
    cos, sin = drawing.measures["stripe_cos"], drawing.measures["stripe_sin"]
    upright = ("horizontal" if cos > 0 else "vertical", abs(cos))
    oblique = ("rising" if sin < 0 else "falling", abs(sin))
    run, _ = max(upright, oblique, key=lambda named: named[1])
    density = _bin(drawing.measures["stripe_period"] / 4, (0.12, 0.2), ("fine", "medium", "coarse"))
    return rng.choice(("How do the stripes run?", "Describe the stripes.")), {"run": run, "density": density}


def _nothing(rng: random.Random) -> tuple[str, Answer]:
    return "", {}


def _phrase(rng: random.Random) -> tuple[str, Answer]:
    words = rng.sample(_NOTED, rng.randint(1, 4))
    end = rng.choice(("first", "last"))
    return f'Note: "{" ".join(words)}". {end.capitalize()} word?', {end: words[0 if end == "first" else -1]}


def _bounded_sum(rng: random.Random) -> tuple[str, Answer]:
    value, add = rng.choice((rng.randint(0, 20), rng.choice((0, 1, 2, 18, 19, 20)))), rng.randint(-5, 5)
    total = min(max(value + add, 0), 20)
    return f"Counter: {value}. Add {add}, bounds 0 to 20.", {"added": total - value, "counter": total}


def _compared(rng: random.Random) -> tuple[str, Answer]:
    value, other = rng.randint(0, 20), rng.randint(0, 20)
    if rng.random() < 0.3:
        other = value
    said = "under" if value < other else "over" if value > other else "equal"
    return f"Counter: {value}. Compare with {other}.", {"compared": said}


def _tenths(fraction: float) -> int:
    return min(max(round(fraction * 10), 0), 10)


def _bin(value: float, limits: tuple[float, ...], names: tuple[str, ...]) -> str:
    return names[sum(value > limit for limit in limits)]


def _side(value: float, names: tuple[str, str, str], width: float) -> str:
    return names[0] if value < -width else names[2] if value > width else names[1]
