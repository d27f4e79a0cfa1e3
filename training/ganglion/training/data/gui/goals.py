"""How the goal of a GUI episode is said: templates of phrases.yaml, filled."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ganglion.training.data.gui.words import TIMES

PHRASINGS = ("train", "heldout")
_EITHER = re.compile(r"\(([^()]*\|[^()]*)\)")


def goal(rng: random.Random, kind: str, phrasing: str, **slots: str) -> str:
    """One of the sentences for the kind, now and then with a capital letter or a point."""
    template = rng.choice(templates(kind, phrasing))
    said = _EITHER.sub(lambda either: rng.choice(either[1].split("|")), template).format(**slots)
    if rng.random() < 0.4:
        said = said[0].upper() + said[1:]
    return said + rng.choice(("", "", "."))


def templates(kind: str, phrasing: str) -> Sequence[str]:
    """The sentence templates for a kind."""
    return _phrases()[kind][phrasing]


def in_order(rng: random.Random, parts: Sequence[str]) -> str:
    """`A, then B, then C`, or the same otherwise."""
    if len(parts) == 1:
        return parts[0]
    between, last = rng.choice(((", then ", ", then "), (", ", " and "), (", ", ", then "), (", ", " and then ")))
    return between.join(parts[:-1]) + last + parts[-1]


def times(rng: random.Random, name: str, count: int) -> str:
    """`Plus three times`."""
    return f"{name} {rng.choice(TIMES[count])}"


def entry(rng: random.Random, field: str, value: str) -> str:
    """`Room cedar`, or the same otherwise."""
    return f"{field}{rng.choice((' ', ': ', ' = '))}{value}"


@functools.cache
def _phrases() -> Mapping[str, Mapping[str, Sequence[str]]]:
    text = Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8")
    phrases: Mapping[str, Mapping[str, Sequence[str]]] = yaml.safe_load(text)
    return phrases
