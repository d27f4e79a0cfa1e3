"""chat: any conversation, about pictures or not; answers are free text.

A row is a conversation, as `conversation` has it, or one question: `{prompt, answer, images?}`.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.tasks.dialogues import dialogues_in
from ganglion.core.tasks.registry import register_task
from ganglion.core.tasks.task import Example, RowError, Task

_NEEDED, _MORE = ("prompt", "answer"), ("images", "id")


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    """Turn `{prompt, answer}`, with `images`, a path or a list of paths, or without, into an Example.

    Raises:
        RowError: a column is missing or unknown, or of another kind.
    """
    for key in row:
        if key not in _NEEDED + _MORE:
            raise RowError(str(key), "is unknown", f"use {[*_NEEDED, *_MORE]}, or ['messages']")
    for key in _NEEDED:
        if key not in row:
            raise RowError(key, "is missing", "add it")
        if not isinstance(row[key], str):
            raise RowError(key, f"is {row[key]!r:.40}", "give a text")
    images = row.get("images", [])
    images = [images] if isinstance(images, str) and images else images
    if not (isinstance(images, list) and all(isinstance(image, str) and image for image in images)):
        raise RowError("images", f"is {images!r:.40}", "give a file path or a list of them")
    return Example(tuple(folder / image for image in images), row["prompt"], row["answer"], row)


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """exact_match: share of answers that are the expected text; f1: mean overlap of words, as SQuAD v1.1 counts it.

    dialogue_exact_match is the share of dialogues all of whose answers are the expected text; it is there only where
    the examples are dialogues, unrolled.
    """
    pairs = [(example.answer, answer) for example, answer in zip(examples, answers, strict=True)]
    exact = [want.strip() == got.strip() for want, got in pairs]
    n = max(len(pairs), 1)
    found = {
        "n": float(len(pairs)),
        "exact_match": sum(exact) / n,
        "f1": sum(f1(want, got) for want, got in pairs) / n,
    }
    if dialogues := dialogues_in(examples):
        found["dialogue_exact_match"] = sum(all(exact[k] for k in turns) for turns in dialogues) / len(dialogues)
    return found


def f1(want: str, got: str) -> float:
    """Harmonic mean of precision and recall over words, without case, marks and articles (Rajpurkar et al. 2016)."""
    wanted, given = _words(want), _words(got)
    common = sum((Counter(wanted) & Counter(given)).values())
    if not wanted or not given:
        return float(wanted == given)
    return 2 * common / (len(wanted) + len(given))


def _words(text: str) -> list[str]:
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


CHAT = register_task(
    Task(
        name="chat",
        summary="free text about pictures or none, in one turn or several",
        schema=None,
        max_new_tokens=256,
        headline="exact_match",
        read_row=read_row,
        metrics=metrics,
    )
)
