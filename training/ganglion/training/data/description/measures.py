"""What a data file holds, counted: lengths, balance, rows that repeat, rows that another file has too."""

from __future__ import annotations

import functools
import hashlib
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.bundle import sha256_file
from ganglion.core.tasks import Example, Task, read_by_task

_BINS = 10
_SHOWN = 5  # rows named of each kind
_HASH_BYTES = 16
_FILES_KEPT = 2**14


@dataclass(frozen=True)
class Keys:
    """What makes two rows the same.

    input   hash of all that is asked: images by content, and every turn
    bare    the same without case, marks and doubled spaces
    images  content hashes
    answer  hash of the expected answer as the task reads it

    Hashes have 16 bytes: of a large set they all stay in memory, the rows do not.
    """

    input: bytes
    bare: bytes
    images: tuple[bytes, ...]
    answer: bytes


class KeyMaker:
    """Keys of examples."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._hash_of: Callable[[Path], str] = functools.lru_cache(maxsize=_FILES_KEPT)(sha256_file)

    def __call__(self, example: Example) -> Keys:
        """The keys of one example."""
        images = [self._hash_of(path) for turn in example.turns for path in turn.images]
        asked = [*images, *(part for turn in example.history for part in (turn.prompt, turn.answer)), example.prompt]
        return Keys(
            input=_hash(asked),
            bare=_hash([bare(part) for part in asked]),
            images=tuple(bytes.fromhex(image)[:_HASH_BYTES] for image in images),
            answer=_hash([repr(read_by_task(self._task, example, example.answer))]),
        )


def bare(text: str) -> str:
    """Lower case, without marks, single spaces; marks between digits stay, as in 0.5."""
    return " ".join(re.sub(r"(?<!\d)[^\w\s]|[^\w\s](?!\d)", " ", text.lower()).split())


def lengths(examples: Sequence[Example], measure: Callable[[str], int]) -> dict[str, Any]:
    """Lengths of prompts and of answers, all turns of a row together, by what `measure` counts."""
    prompts, answers = array("q"), array("q")
    for example in examples:
        prompts.append(sum(measure(turn.prompt) for turn in example.turns))
        answers.append(sum(measure(turn.answer) for turn in example.turns))
    return {"prompt": histogram(prompts), "answer": histogram(answers)}


def histogram(values: Sequence[int]) -> dict[str, Any]:
    """Least, median, mean, largest, and up to ten bins of equal width as [from, up to and without, count]."""
    low, high = min(values), max(values)
    width = -(-(high - low + 1) // _BINS)
    counts = Counter((value - low) // width for value in values)
    bins = [[low + k * width, low + (k + 1) * width, counts[k]] for k in range((high - low) // width + 1)]
    ranked = sorted(values)
    return {
        "least": low,
        "median": ranked[len(ranked) // 2],
        "mean": sum(values) / len(values),
        "largest": high,
        "bins": bins,
    }


def balance(examples: Sequence[Example], task: Task) -> dict[str, dict[str, int]]:
    """Rows by category where rows have one, else answers by the task's labels; none of those that no answer has."""
    if all("category" in example.row for example in examples):
        return {"category": dict(sorted(Counter(str(example.row["category"]) for example in examples).items()))}
    if (labels_of := task.labels or _enumerated(task)) is None:
        return {}
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        for turn in example.unrolled():
            for name, values in labels_of(turn).items():
                counts.setdefault(name, Counter()).update(values)
    return {name: dict(sorted(counted.items())) for name, counted in counts.items() if counted}


def _enumerated(task: Task) -> Callable[[Example], Mapping[str, Sequence[str]]] | None:
    """The values of those keys of an answer for which the schema lists what they may be."""
    properties: Mapping[str, Any] = (task.schema or {}).get("properties", {})
    keys = [key for key, rule in properties.items() if "enum" in rule]

    def labels(example: Example) -> dict[str, list[str]]:
        answer = read_by_task(task, example, example.answer) or {}
        return {key: [str(answer[key])] for key in keys if key in answer}

    return labels if keys else None


def duplicates(keys: Sequence[Keys]) -> dict[str, Any]:
    """Rows that ask what an earlier row asks: all of them, and those whose answer contradicts an earlier one."""
    answers: dict[bytes, set[bytes]] = defaultdict(set)
    repeated, contradicting = [], []
    for row, key in enumerate(keys):
        known = answers[key.input]
        if known:
            repeated.append(row)
            if key.answer not in known:
                contradicting.append(row)
        known.add(key.answer)
    return {"same_input": found(repeated), "same_input_other_answer": found(contradicting)}


def leakage(keys: Sequence[Keys], other: Sequence[Keys]) -> dict[str, Any]:
    """Rows that have in common with some row of another file: the input, the bare input, an image."""
    shared = {
        "same_input": _shared([(key.input,) for key in keys], [(key.input,) for key in other]),
        "same_input_but_for_case_and_marks": _shared([(key.bare,) for key in keys], [(key.bare,) for key in other]),
    }
    if any(key.images for key in keys):
        shared["same_image"] = _shared([key.images for key in keys], [key.images for key in other])
    return {name: found(rows) for name, rows in shared.items()}


def _shared(own: Sequence[tuple[Hashable, ...]], others: Sequence[tuple[Hashable, ...]]) -> list[int]:
    there = {key for keys in others for key in keys}
    return [row for row, keys in enumerate(own) if any(key in there for key in keys)]


def found(rows: Sequence[int]) -> dict[str, Any]:
    """How many rows, and the first of them."""
    return {"count": len(rows), "rows": list(rows[:_SHOWN])}


def _hash(parts: Sequence[str]) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]
