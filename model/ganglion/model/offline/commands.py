"""Text exercises: a command in made-up words, and the program that it spells out.

An action is named by a few words and called by these words joined; its arguments are named and valued in the command.
Programs call one action after another, repeat one, or choose by a condition. Words and numbers are drawn anew each
time, many of them no words at all, so there is nothing to remember: what can be learned is to find a word again, to
copy it, and to put the pieces of a sentence into a program's order.
"""

from __future__ import annotations

import keyword
import random

from ganglion.model.offline.lessons import Lesson
from ganglion.model.offline.words import WORDS

Said = tuple[str, str]  # in the command, in the program

# Without the most frequent words, which tie a sentence together.
_NAMES = [word for word in WORDS[150:] if not keyword.iskeyword(word)]
_SYLLABLES = ("ba", "dra", "fe", "gu", "hub", "jun", "ko", "lim", "mi", "nor", "osk", "pel", "qua", "ru", "sol", "wey")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ARGUMENTS = ("with {key} {value}", "{key} as {value}", "whose {key} is {value}")
_CONDITIONS = (
    ("{words} over {number}", "{name}() > {number}"),
    ("{words} under {number}", "{name}() < {number}"),
    ("{words} at all", "{name}()"),
    ("never {words}", "not {name}()"),
)
# The share of a form among the exercises, what is said, and the program's lines.
_FORMS: tuple[tuple[float, tuple[str, ...], str], ...] = (
    (0.30, ("{a}",), "{A}"),
    (0.30, ("{a}, next {b}", "{a} before {b}", "{a} plus {b}", "{b} once done with {a}"), "{A}\n{B}"),
    (0.10, ("{a}, next {b}, next {c}",), "{A}\n{B}\n{C}"),
    (0.08, ("{a}, and that {n} rounds",), "for _ in range({N}):\n    {A}"),
    (0.11, ("given {x}: {a}", "{a}, given {x}"), "if {X}:\n    {A}"),
    (0.11, ("given {x}: {a}, or else {b}",), "if {X}:\n    {A}\nelse:\n    {B}"),
)


def command(seed: int | str) -> Lesson:
    """The exercise of a seed."""
    rng = random.Random(seed)
    said, written = {}, {}
    for name in "abc":
        said[name], written[name.upper()] = _call(rng)
    said["x"], written["X"] = _condition(rng)
    said["n"], written["N"] = _counted(rng, rng.randint(2, 9))
    (_, sentences, program) = rng.choices(_FORMS, weights=[share for share, *_ in _FORMS])[0]
    return Lesson(
        f"Command: {rng.choice(sentences).format_map(said)}\nCode:",
        program.format_map(written),
    )


def _call(rng: random.Random) -> Said:
    words = [_word(rng) for _ in range(rng.randint(1, 3))]
    said, arguments = [" ".join(words)], []
    for _ in range(rng.choice((0, 1, 1, 2))):
        key, (value, written) = _word(rng), _value(rng)
        said.append(rng.choice(_ARGUMENTS).format(key=key, value=value))
        arguments.append(f"{key}={written}")
    return " ".join(said), f"{'_'.join(words)}({', '.join(arguments)})"


def _condition(rng: random.Random) -> Said:
    words = [_word(rng) for _ in range(rng.randint(1, 2))]
    parts = {"words": " ".join(words), "name": "_".join(words), "number": _number(rng)}
    said, written = rng.choice(_CONDITIONS)
    return said.format_map(parts), written.format_map(parts)


def _value(rng: random.Random) -> Said:
    kind = rng.random()
    if kind < 0.4:
        number = _number(rng)
        return number, number
    if kind < 0.5:
        return _counted(rng, rng.randint(0, 10))
    words = " ".join(_word(rng) for _ in range(rng.choice((1, 1, 2))))
    return words, f'"{words}"'


def _number(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return str(rng.randint(0, 20))
    return str(rng.randint(0, 400)) if kind < 0.8 else f"{rng.randint(0, 99) / 10:g}"


def _counted(rng: random.Random, number: int) -> Said:
    """A small number, as a word or in digits."""
    return rng.choice((_NUMBERS[number], str(number))), str(number)


def _word(rng: random.Random) -> str:
    if rng.random() < 0.35:
        return "".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3)))
    return rng.choice(_NAMES)
