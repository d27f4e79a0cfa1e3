"""Rows of a synthetic robot_code data file: five categories in turn, sentences put together from robot_phrases.yaml."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ganglion.training.data.robot_fillings import fill

CATEGORIES = ("movement", "manipulation", "sensing", "multi_step", "conditional")
PARAPHRASES = ("train", "heldout")
_ATTEMPTS = 200  # at a command that is not in the set yet
_SLOT = re.compile(r"\{(\w+)\}")
_EITHER = re.compile(r"\(([^()]*\|[^()]*)\)")
_OPTIONAL = re.compile(r"\[(.*?)\]")


@dataclass(frozen=True)
class Phrases:
    """Ways to say one thing. sentences: templates with {slots}; code: what it is as a program, lines with {slots}."""

    sentences: tuple[str, ...]
    code: tuple[str, ...]
    category: str


def robot_rows(seed: int, count: int, paraphrases: str) -> Iterator[dict[str, str]]:
    """`count` rows of the data set `seed`, categories in turn; none repeats while there are others to be found."""
    seen: set[str] = set()
    for index in range(count):
        for attempt in range(_ATTEMPTS):
            rng = random.Random(f"{paraphrases} {seed} {index} {attempt}")
            row = _row(rng, CATEGORIES[index % len(CATEGORIES)], paraphrases)
            if row["input"] not in seen:
                break
        seen.add(row["input"])
        yield row


def sentences(paraphrases: str) -> Iterator[str]:
    """All sentence templates of one kind."""
    for group in ("commands", "conditions", "sequences", "choices"):
        for phrases in _phrases(group, paraphrases):
            yield from phrases.sentences


def _row(rng: random.Random, category: str, paraphrases: str) -> dict[str, str]:
    commands = _phrases("commands", paraphrases)
    if category == "multi_step":
        said, code = _joined(rng, "sequences", paraphrases)
    elif category == "conditional":
        said, code = _joined(rng, "choices", paraphrases)
    else:
        said, code = _filled(rng, rng.choice([one for one in commands if one.category == category]))
    said = rng.choice(_all_phrases()["polite"][paraphrases]) + said
    return {"input": _spoken(rng, said), "output": code, "category": category}


def _joined(rng: random.Random, group: str, paraphrases: str) -> tuple[str, str]:
    """Commands, and a condition, put into a sentence for several."""
    phrases = rng.choice(_phrases(group, paraphrases))
    commands = _phrases("commands", paraphrases)
    actions = [one for one in commands if one.category != "sensing" or one.code[0].startswith("take_picture")]
    parts = dict(zip(("first", "second", "third"), (_filled(rng, one) for one in rng.sample(actions, 3)), strict=True))
    parts["condition"] = _filled(rng, rng.choice(_phrases("conditions", paraphrases)))
    parts["times"] = fill("times", rng)
    sentence = rng.choice(phrases.sentences)
    said = _SLOT.sub(lambda slot: parts[slot[1]][0], sentence)
    code = _SLOT.sub(lambda slot: parts[slot[1]][1], "\n".join(phrases.code))
    return said, code


def _filled(rng: random.Random, phrases: Phrases) -> tuple[str, str]:
    """One sentence and its code, each slot filled with the same in both."""
    sentence = rng.choice(phrases.sentences)
    fillings = {slot: fill(slot, rng) for slot in _SLOT.findall(sentence)}
    said = _SLOT.sub(lambda slot: fillings[slot[1]][0], sentence)
    wanted = [_OPTIONAL.sub(lambda part: part[1] if _has_all(part[1], fillings) else "", line) for line in phrases.code]
    return said, _SLOT.sub(lambda slot: fillings[slot[1]][1], "\n".join(wanted))


def _has_all(part: str, fillings: Mapping[str, Any]) -> bool:
    return all(slot in fillings for slot in _SLOT.findall(part))


def _spoken(rng: random.Random, said: str) -> str:
    """Now and then with a capital letter or a mark, as a transcript writes it."""
    if rng.random() < 0.4:
        said = said[0].upper() + said[1:]
    return said + rng.choice(("", "", "", ".", "!" if len(said) < 60 else "."))


@functools.cache
def _phrases(group: str, paraphrases: str) -> Sequence[Phrases]:
    return tuple(
        Phrases(
            sentences=tuple(itertools.chain.from_iterable(_either(sentence) for sentence in entry[paraphrases])),
            code=(entry["code"],) if isinstance(entry["code"], str) else tuple(entry["code"]),
            category=entry.get("category", ""),
        )
        for entry in _all_phrases()[group]
    )


@functools.cache
def _all_phrases() -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("robot_phrases.yaml").read_text(encoding="utf-8"))
    return whole


def _either(sentence: str) -> list[str]:
    """All sentences that one with (a|b) stands for."""
    found = _EITHER.search(sentence)
    if not found:
        return [sentence]
    return [
        one
        for choice in found[1].split("|")
        for one in _either(sentence[: found.start()] + choice + sentence[found.end() :])
    ]
