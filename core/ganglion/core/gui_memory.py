"""What a model that works on a screen remembers: its last steps, and facts worth keeping.

    memory = GuiMemory()
    memory = memory.after({"action": "click", "target": "Next", "remember": "price: 12"})
    memory.short_term.to_json()  # ['1. click "Next"']
    memory.long_term.to_json()  # ['price: 12']

Memories are values: a step gives a new one. They can't grow beyond their bounds, and go to JSON and back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ganglion.core.errors import InputError

STEPS_KEPT, FACTS_KEPT = 8, 16
TEXT_CHARACTERS, TARGET_CHARACTERS, FACT_CHARACTERS = 200, 80, 80
STEP_CHARACTERS = TEXT_CHARACTERS + TARGET_CHARACTERS + 40  # with the action's name and quotes
NO_STEP = "(no valid step)"
_NUMBERED = re.compile(r"([1-9][0-9]{0,8})\. (.+)", re.DOTALL)


def step_words(answer: Mapping[str, Any] | None) -> str:
    """A step in words: `click "Next"`, `type "abc" in "Name"`, `done`; None, an invalid answer, is NO_STEP."""
    if answer is None:
        return NO_STEP
    text = one_line(answer.get("text") or "", TEXT_CHARACTERS)
    target = one_line(answer.get("target") or "", TARGET_CHARACTERS)
    words = [answer["action"]]
    if text:
        words.append(_quoted(text))
    if target:
        words.append(f"in {_quoted(target)}" if text else _quoted(target))
    return " ".join(words)


def one_line(text: str, longest: int | None = None) -> str:
    """The text without line breaks: lines joined by "; ", white space single, cut off after `longest` characters."""
    whole = "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return whole[:longest].rstrip()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'


@dataclass(frozen=True)
class ShortTermMemory:
    """The last steps.

    steps    at most STEPS_KEPT, in words, oldest first
    earlier  how many steps came before these

    Raises:
        InputError: made of more, or of longer ones, than it may hold.
    """

    steps: tuple[str, ...] = ()
    earlier: int = 0

    def __post_init__(self) -> None:
        _check(self.steps, STEPS_KEPT, STEP_CHARACTERS, "short-term memory")
        if isinstance(self.earlier, bool) or not isinstance(self.earlier, int) or self.earlier < 0:
            raise InputError(f"short-term memory: earlier is {self.earlier!r}", remedy="give a number of steps")

    @property
    def count(self) -> int:
        """Steps done so far, those no longer held included."""
        return self.earlier + len(self.steps)

    def after(self, answer: Mapping[str, Any] | None) -> ShortTermMemory:
        """With one step more, and the oldest one gone where there are too many; None is an invalid answer."""
        grown = (*self.steps, step_words(answer))
        kept = grown[-STEPS_KEPT:]
        return ShortTermMemory(kept, self.earlier + len(grown) - len(kept))

    def without_oldest(self) -> ShortTermMemory:
        """One step fewer, counted as an earlier one."""
        return ShortTermMemory(self.steps[1:], self.earlier + 1)

    @property
    def text(self) -> str:
        """As a prompt shows it: `(4 earlier); 5. click "Next"; 6. type "abc"`, or `none`."""
        head = [f"({self.earlier} earlier)"] if self.earlier else []
        return "; ".join(head + self.to_json()) or "none"

    def to_json(self) -> list[str]:
        """The steps, each with its number in the task; the first number says how many came before."""
        return [f"{number}. {step}" for number, step in enumerate(self.steps, self.earlier + 1)]

    @classmethod
    def from_json(cls, data: Any) -> ShortTermMemory:
        """The reverse of `to_json`; steps without numbers count from 1.

        Raises:
            InputError: it is no list of steps, its numbers do not follow one another, or it is beyond the bounds.
        """
        _check_texts(data, "short-term memory")
        found = [_NUMBERED.fullmatch(step) for step in data]
        if not any(found):
            return cls(tuple(data))
        numbers = [int(match[1]) if match else 0 for match in found]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or 0 in numbers:
            raise InputError("short-term memory: numbers of its steps do not follow one another", remedy="number all")
        return cls(tuple(match[2] for match in found if match), numbers[0] - 1)


@dataclass(frozen=True)
class LongTermMemory:
    """Facts, oldest first, at most FACTS_KEPT of at most FACT_CHARACTERS each.

    A fact `key: value` takes the place of an older one with that key, and any fact that of an equal one; upper and
    lower case are the same.

    Raises:
        InputError: made of more, or of longer ones, than it may hold.
    """

    facts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.facts, FACTS_KEPT, FACT_CHARACTERS, "long-term memory")

    def after(self, answer: Mapping[str, Any] | None) -> LongTermMemory:
        """With the fact that the answer asks to remember, if any."""
        fact = one_line((answer or {}).get("remember") or "", FACT_CHARACTERS)
        if not fact:
            return self
        others = tuple(known for known in self.facts if _key(known) != _key(fact))
        return LongTermMemory((*others, fact)[-FACTS_KEPT:])

    def without_oldest(self) -> LongTermMemory:
        """One fact fewer."""
        return LongTermMemory(self.facts[1:])

    @property
    def text(self) -> str:
        """As a prompt shows it: `price: 12; name: Ada`, or `none`."""
        return "; ".join(self.facts) or "none"

    def to_json(self) -> list[str]:
        """The facts."""
        return list(self.facts)

    @classmethod
    def from_json(cls, data: Any) -> LongTermMemory:
        """The reverse of `to_json`.

        Raises:
            InputError: it is no list of facts, or beyond the bounds.
        """
        _check_texts(data, "long-term memory")
        return cls(tuple(data))


@dataclass(frozen=True)
class GuiMemory:
    """Both memories of one task."""

    short_term: ShortTermMemory = field(default_factory=ShortTermMemory)
    long_term: LongTermMemory = field(default_factory=LongTermMemory)

    def after(self, answer: Mapping[str, Any] | None) -> GuiMemory:
        """As an answer to a step leaves them; None is an invalid answer."""
        return GuiMemory(self.short_term.after(answer), self.long_term.after(answer))

    def shrinking(self) -> Iterator[GuiMemory]:
        """This one, then ever smaller ones: the oldest steps go first, one by one, then the oldest facts."""
        memory = self
        yield memory
        while memory.short_term.steps:
            memory = replace(memory, short_term=memory.short_term.without_oldest())
            yield memory
        while memory.long_term.facts:
            memory = replace(memory, long_term=memory.long_term.without_oldest())
            yield memory

    def to_json(self) -> dict[str, list[str]]:
        """Both, as the keys of a row and of a session's file."""
        return {"short_term_memory": self.short_term.to_json(), "long_term_memory": self.long_term.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GuiMemory:
        """The reverse of `to_json`.

        Raises:
            InputError: a memory is missing, or is not what `to_json` gives.
        """
        return cls(
            ShortTermMemory.from_json(data.get("short_term_memory")),
            LongTermMemory.from_json(data.get("long_term_memory")),
        )


def _key(fact: str) -> str:
    """What it is about: the part up to its first ":", or else all of it."""
    key, colon, _ = fact.partition(":")
    return " ".join(key.casefold().split()) + colon


def _check_texts(data: Any, name: str) -> None:
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise InputError(f"{name} is {data!r:.40}", remedy="give a list of texts")


def _check(texts: tuple[str, ...], most: int, longest: int, name: str) -> None:
    if len(texts) > most:
        raise InputError(f"{name} has {len(texts)} entries", remedy=f"give at most {most}")
    for text in texts:
        if not (text.strip() and len(text) <= longest) or one_line(text) != text:
            found = f"{name} has the entry {text[:40]!r}"
            raise InputError(found, remedy=f"give one line of at most {longest} characters")
