"""What fills the slots of a robot_code sentence: how people say a value, and the value as a program writes it.

Numbers come in several formats and units ("half a meter", "50 cm", "0.5 m"); a program has them in the unit of the API.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction

Filling = tuple[str, str]  # as said, as written in code

_THINGS = ("cup", "box", "ball", "plate", "spoon", "towel", "apple", "lamp", "key", "jar", "glove", "hammer", "wrench")
_LOOKS = ("red", "blue", "green", "yellow", "small", "big")
_ROOMS = ("kitchen", "garage", "office", "hallway", "door", "window", "stairs", "charging station")
_SURFACES = ("table", "shelf", "desk", "sofa", "floor", "cart", "workbench", "counter")
_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 8: "eight", 10: "ten"}
_SPEEDS = (("slowly", "slow"), ("slow", "slow"), ("fast", "fast"), ("quickly", "fast"), ("at normal speed", "normal"))
_TURNS = (("a quarter turn", 90), ("half a turn", 180), ("a full turn", 360))
_RADIANS = (("pi", 180), ("pi/2", 90), ("pi/4", 45))


def fill(slot: str, rng: random.Random) -> Filling:
    """A random filling of one of the slots of phrases.yaml."""
    return _SLOTS[slot](rng)


def _distance(rng: random.Random) -> Filling:
    return _length(rng, Fraction(rng.choice((rng.randint(1, 20), 10 * rng.randint(1, 5))), 10))


def _reach(rng: random.Random) -> Filling:
    return _length(rng, Fraction(rng.randint(1, 10), 10))


def _height(rng: random.Random) -> Filling:
    return _length(rng, Fraction(rng.randint(1, 15), 10))


def _length(rng: random.Random, meters: Fraction) -> Filling:
    ways = [f"{_number(meters)} {_one_of(rng, 'm', 'meters')}"]
    if meters <= 3:
        ways.append(f"{_number(meters * 100)} {_one_of(rng, 'cm', 'centimeters')}")
    if meters == Fraction(1, 2):
        ways += ["half a meter"] * 2
    if meters == Fraction(3, 2):
        ways += ["one and a half meters"] * 2
    if meters in _WORDS:
        ways.append("a meter" if meters == 1 else f"{_WORDS[int(meters)]} meters")
    return rng.choice(ways), _number(meters)


def _angle(rng: random.Random) -> Filling:
    if rng.random() < 0.3:
        said, degrees = rng.choice(_TURNS + _RADIANS)
        return said + (_one_of(rng, " rad", " radians") if "pi" in said else ""), str(degrees)
    degrees = 15 * rng.randint(1, 12)
    return f"{degrees}{_one_of(rng, ' degrees', ' deg', '°')}", str(degrees)


def _duration(rng: random.Random) -> Filling:
    if rng.random() < 0.3:
        minutes = rng.choice((Fraction(1, 2), 1, 2, 3))
        ways = {Fraction(1, 2): "half a minute", 1: "a minute"}
        said = ways.get(minutes) or f"{rng.choice((str(minutes), _WORDS[int(minutes)]))} minutes"
        return said, _number(Fraction(minutes * 60))
    seconds = Fraction(rng.choice((rng.randint(2, 10), 5 * rng.randint(2, 12))))
    if seconds in _WORDS and rng.random() < 0.3:
        return f"{_WORDS[int(seconds)]} seconds", _number(seconds)
    return f"{_number(seconds)} {_one_of(rng, 's', 'seconds', 'sec')}", _number(seconds)


def _object(rng: random.Random) -> Filling:
    thing = rng.choice(_THINGS)
    return _text(f"{rng.choice(_LOOKS)} {thing}" if rng.random() < 0.5 else thing)


def _times(rng: random.Random) -> Filling:
    times = rng.randint(2, 6)
    return rng.choice((str(times), _WORDS[times])), str(times)


def _speed(rng: random.Random) -> Filling:
    said, written = rng.choice(_SPEEDS)
    return said, f'"{written}"'


def _counted(unit: tuple[str, ...], low: int, high: int, step: int) -> Callable[[random.Random], Filling]:
    def filling(rng: random.Random) -> Filling:
        number = rng.randrange(low, high + 1, step)
        return f"{number}{rng.choice(unit)}", str(number)

    return filling


def _named(*names: str) -> Callable[[random.Random], Filling]:
    return lambda rng: _text(rng.choice(names))


def _text(said: str) -> Filling:
    return said, f'"{said}"'


def _one_of(rng: random.Random, *texts: str) -> str:
    return rng.choice(texts)


def _number(value: Fraction) -> str:
    """Exact, without a trailing zero: 0.5, 2, 1.25."""
    return f"{float(value):g}"


_SLOTS: Mapping[str, Callable[[random.Random], Filling]] = {
    "distance": _distance,
    "reach": _reach,
    "height": _height,
    "angle": _angle,
    "duration": _duration,
    "force": _counted((" N", " newtons"), 5, 40, 5),
    "percent": _counted((" percent", "%", " %"), 10, 90, 10),
    "speed": _speed,
    "camera": _named("front", "wrist", "rear"),
    "object": _object,
    "place": _named(*_ROOMS, *_SURFACES),
    "surface": _named(*_SURFACES),
    "times": _times,
}
