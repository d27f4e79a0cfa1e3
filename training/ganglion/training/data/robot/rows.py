"""Rows of a synthetic robot_code data file: sentences put together from phrases.yaml, in five categories."""

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

from ganglion.training.data.robot.fillings import fill

SINGLE, COMPOUND = ("movement", "manipulation", "sensing"), ("multi_step", "conditional")
CATEGORIES = SINGLE + COMPOUND
PARAPHRASES = ("train", "heldout")
GROUPS = ("commands", "conditions", "sequences", "choices")
_ATTEMPTS = 200  # at a command that is not in the set yet
_SLOT = re.compile(r"\{(\w+)\}")
_EITHER = re.compile(r"\(([^()]*\|[^()]*)\)")
_OPTIONAL = re.compile(r"\[(.*?)\]")


@dataclass(frozen=True)
class Phrases:
    """Ways to say one thing.

    sentences  templates with {slots}
    joined     the same as a part of a longer sentence; empty where it is never one
    code       what it is as a program, lines with {slots}
    """

    sentences: tuple[str, ...]
    joined: tuple[str, ...]
    code: tuple[str, ...]
    category: str


def robot_rows(seed: int, count: int, paraphrases: str, compound_share: float = 0.4) -> Iterator[dict[str, str]]:
    """`count` rows of the data set `seed`; none repeats while there are others to be found.

    `compound_share` of the rows are multi_step or conditional, evenly spread; 0.4 makes all five categories equal.
    """
    seen: set[str] = set()
    for index, category in enumerate(_categories(count, compound_share)):
        for attempt in range(_ATTEMPTS):
            rng = random.Random(f"{paraphrases} {seed} {index} {attempt}")
            row = _row(rng, category, paraphrases)
            if row["input"] not in seen:
                break
        seen.add(row["input"])
        yield row


def _categories(count: int, compound_share: float) -> Iterator[str]:
    """Each kind's categories in turn, the two kinds mixed evenly."""
    single, compound = itertools.cycle(SINGLE), itertools.cycle(COMPOUND)
    for index in range(count):
        is_compound = int((index + 1) * compound_share) > int(index * compound_share)
        yield next(compound if is_compound else single)


def sentences(paraphrases: str) -> Iterator[str]:
    """All sentence templates of one kind."""
    for group in GROUPS:
        for phrases in phrases_of(group, paraphrases):
            yield from phrases.sentences + phrases.joined


def _row(rng: random.Random, category: str, paraphrases: str) -> dict[str, str]:
    commands = phrases_of("commands", paraphrases)
    if category == "multi_step":
        said, code = _joined(rng, "sequences", paraphrases)
    elif category == "conditional":
        said, code = _joined(rng, "choices", paraphrases)
    else:
        chosen = rng.choice([one for one in commands if one.category == category])
        said, code = _filled(rng, chosen.sentences, chosen.code)
    said = rng.choice(_all_phrases()["polite"][paraphrases]) + said
    return {"input": _spoken(rng, said), "output": code, "category": category}


def _joined(rng: random.Random, group: str, paraphrases: str) -> tuple[str, str]:
    """Commands, and a condition, put into a sentence for several."""
    phrases = rng.choice(phrases_of(group, paraphrases))
    actions = [one for one in phrases_of("commands", paraphrases) if one.joined]
    chosen = [_filled(rng, one.joined, one.code) for one in rng.sample(actions, 3)]
    parts = dict(zip(("first", "second", "third"), chosen, strict=True))
    condition = rng.choice(phrases_of("conditions", paraphrases))
    parts["condition"] = _filled(rng, condition.sentences, condition.code)
    parts["times"] = fill("times", rng)
    sentence = rng.choice(phrases.sentences)
    said = _SLOT.sub(lambda slot: parts[slot[1]][0], sentence)
    code = _SLOT.sub(lambda slot: parts[slot[1]][1], "\n".join(phrases.code))
    return said, code


def _filled(rng: random.Random, templates: Sequence[str], code: Sequence[str]) -> tuple[str, str]:
    """One of the sentences and its code, each slot filled with the same in both."""
    sentence = rng.choice(templates)
    fillings = {slot: fill(slot, rng) for slot in _SLOT.findall(sentence)}
    said = _SLOT.sub(lambda slot: fillings[slot[1]][0], sentence)
    wanted = [_OPTIONAL.sub(lambda part: part[1] if _has_all(part[1], fillings) else "", line) for line in code]
    return said, _SLOT.sub(lambda slot: fillings[slot[1]][1], "\n".join(wanted))


def _has_all(part: str, fillings: Mapping[str, Any]) -> bool:
    return all(slot in fillings for slot in _SLOT.findall(part))


def _spoken(rng: random.Random, said: str) -> str:
    """Now and then with a capital letter or a mark, as a transcript writes it."""
    if rng.random() < 0.4:
        said = said[0].upper() + said[1:]
    return said + rng.choice(("", "", "", ".", "!" if len(said) < 60 else "."))


@functools.cache
def phrases_of(group: str, paraphrases: str) -> Sequence[Phrases]:
    """What one of GROUPS has to say, in sentences of one kind."""
    return tuple(
        Phrases(
            sentences=_expanded(entry, paraphrases),
            joined=_expanded(entry.get("joined", {}), paraphrases),
            code=(entry["code"],) if isinstance(entry["code"], str) else tuple(entry["code"]),
            category=entry.get("category", ""),
        )
        for entry in _all_phrases()[group]
    )


@functools.cache
def _all_phrases() -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8"))
    return whole


def _expanded(entry: Mapping[str, Any], paraphrases: str) -> tuple[str, ...]:
    """An entry's sentences of one kind; for training without those that are held out in any entry."""
    found = [one for sentence in entry.get(paraphrases, ()) for one in _either(sentence)]
    return tuple(one for one in found if paraphrases != "train" or one not in _heldout())


@functools.cache
def _heldout() -> frozenset[str]:
    entries = [entry for group in GROUPS for entry in _all_phrases()[group]]
    entries += [entry["joined"] for entry in entries if "joined" in entry]
    return frozenset(one for entry in entries for sentence in entry["heldout"] for one in _either(sentence))


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
