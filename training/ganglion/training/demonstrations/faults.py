"""What is wrong with a set of episodes, or with two that should have nothing in common: findings with a remedy.

All of it is told from figures (measures.py), so that training can ask the same of each side of its split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ganglion.core.findings import FAILED, NOTE, WARNING, Finding
from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.images import Look
from ganglion.training.demonstrations.measures import EpisodeFigures, Range, Timing, declared_rates

_OFF_RATE = 0.01  # half a hop in a window of 50: more, and windows have holes (cutting.py)
_WRONG_RATE = 0.1
_MANY_LOST = 0.01
_APART_NS = 10**9
_NAMED = 4  # episodes, of each finding

Measured = Sequence[EpisodeFigures]
Findings = Iterator[Finding]


def find_faults(robot: RobotSpec, measured: Measured) -> list[Finding]:
    """All that is wrong with these episodes; none if nothing is.

    Args:
        robot: what they are of.
        measured: one or more episodes, as measure_set gives them.
    """
    looks: tuple[Callable[[RobotSpec, Measured], Findings], ...] = (
        _rates,
        _gaps,
        _clocks,
        _values,
        _resting,
        _limits,
        _cameras,
        _lacking,
        _words,
        _copies,
    )
    return [finding for look in looks for finding in look(robot, measured)]


def find_overlap(measured: Measured, other: Measured) -> list[Finding]:
    """What episodes to validate on have in common with those to learn from, or the other way round."""
    digests, commands, sessions = (
        {getattr(one, what) for one in other} - {""} for what in ("digest", "commands", "session")
    )
    same = [one.name for one in measured if one.digest in digests]
    alike = [one.name for one in measured if one.commands in commands and one.digest not in digests]
    shared = [one.name for one in measured if one.session in sessions and one.digest not in digests]
    found = []
    if same:
        equal = digests == {one.digest for one in measured}
        what = "both are the same episodes" if equal else f"{_of(same, measured)} are in the other too"
        found.append(Finding("overlap", FAILED, what, "leave them out of one of the two; split by session"))
    if alike:
        what = f"{_of(alike, measured)} have exactly the actions of one of the other"
        found.append(Finding("overlap", FAILED, what, "leave them out of one of the two; split by session"))
    if shared:
        what = f"{_of(shared, measured)} are of a session that the other has too"
        found.append(Finding("sessions", WARNING, what, "split by session: what was recorded together is alike"))
    return found


def _rates(robot: RobotSpec, measured: Measured) -> Findings:
    for stream, declared_hz in declared_rates(robot).items():
        rates = {one.name: timing.rate_hz for one, timing in _having(stream, measured) if timing.rate_hz is not None}
        off = {name: abs(rate / declared_hz - 1) for name, rate in rates.items()}
        wrong = [name for name, by in off.items() if by > _OFF_RATE]
        if wrong:
            told = sorted(rates[name] for name in wrong)
            spread = f"{told[0]:.4g}" + (f" to {told[-1]:.4g}" if told[-1] > told[0] * 1.001 else "")
            what = f"{spread} Hz as measured, {declared_hz:g} as declared, in {_of(wrong, measured)}"
            severity = FAILED if max(off.values()) > _WRONG_RATE else WARNING
            yield Finding(f"rate of {stream}", severity, what, "correct rate_hz in the robot spec, or the stamps")


def _gaps(robot: RobotSpec, measured: Measured) -> Findings:
    for stream in declared_rates(robot):
        timings = {one.name: timing for one, timing in _having(stream, measured)}
        gaps = [name for name, timing in timings.items() if timing.gaps]
        if gaps:
            lost, readings = (sum(getattr(one, what) for one in timings.values()) for what in ("lost", "readings"))
            share = lost / (lost + readings)
            longest = max(timing.longest_gap_s for timing in timings.values())
            what = f"{share:.2%} of readings missing, up to {longest:.3g} s at once, in {_of(gaps, measured)}"
            remedy = "look for what the recorder lost; a sensor's hops that are not whole count as absent"
            yield Finding(f"gaps of {stream}", WARNING if share > _MANY_LOST else NOTE, what, remedy)


def _clocks(robot: RobotSpec, measured: Measured) -> Findings:
    for stream in declared_rates(robot):
        apart = []
        for one, timing in _having(stream, measured):
            actions = one.timings["actions"]
            if max(timing.first_ns - actions.last_ns, actions.first_ns - timing.last_ns) > _APART_NS:
                apart.append(one.name)
        if apart:
            what = f"no reading within a second of the actions, in {_of(apart, measured)}"
            yield Finding(f"clock of {stream}", FAILED, what, "bring all stamps of an episode to one clock")


def _values(robot: RobotSpec, measured: Measured) -> Findings:
    ranges: dict[str, tuple[tuple[str, ...], list[Range]]] = {
        "actions": (robot.actions.names, [one.actions for one in measured]),
        "state": (robot.state.names if robot.state else (), [one.state for one in measured if one.state]),
    }
    for what, (names, found) in ranges.items():
        if not found:
            continue
        least = np.min([one.least for one in found], axis=0)
        still = least == np.max([one.largest for one in found], axis=0)
        if still.all():
            told = "empty: 0 everywhere" if not least.any() else "the same everywhere"
            yield Finding(what, FAILED, told, "look for what the recorder wrote; nothing can be learned from it")
        elif still.any():
            told = ", ".join(f"{name} ({low:g})" for name, low, flat in zip(names, least, still, strict=True) if flat)
            yield Finding(what, WARNING, f"never change: {told}", f"leave these dimensions out, if {what} have others")


def _resting(robot: RobotSpec, measured: Measured) -> Findings:
    resting = [one.name for one in measured if not one.commands and one.timings["actions"].readings > 1]
    if resting:
        remedy = "leave out what only rests, unless the action is one answer for all of an episode"
        yield Finding("resting", WARNING, f"no action ever changes in {_of(resting, measured)}", remedy)


def _limits(robot: RobotSpec, measured: Measured) -> Findings:
    count = sum(one.timings["actions"].readings for one in measured)
    for name, outside, low, high in zip(
        robot.actions.names, _sum(one.outside for one in measured), robot.actions.low, robot.actions.high, strict=True
    ):
        if outside:
            what = f"{outside} of {count} actions are not in {low:g} to {high:g}"
            yield Finding(f"limits of {name}", WARNING, what, "widen low and high, or mend the data; the bridge clips")
    for name, fast, most in zip(
        robot.actions.names, _sum(one.too_fast for one in measured), robot.actions.max_rate, strict=True
    ):
        if fast:
            what = f"{fast} of {count} actions change faster than {most:g} a second"
            yield Finding(f"max_rate of {name}", WARNING, what, "raise max_rate, or mend the data; the bridge clips")


def _cameras(robot: RobotSpec, measured: Measured) -> Findings:
    kinds: tuple[tuple[str, str, Callable[[Look], bool]], ...] = (
        ("black", "an empty slot? leave it out of the robot spec, or of these episodes", lambda look: look.black),
        ("of one plain color", "a covered lens? leave it out of these episodes", lambda look: look.plain),
        ("frozen on one picture", "a camera that hung? leave it out of these episodes", lambda look: look.frozen),
    )
    for camera in robot.cameras:
        looked = [one for one in measured if camera.name in one.looks]
        for what, remedy, is_so in kinds:
            names = [one.name for one in looked if is_so(one.looks[camera.name])]
            if names:
                severity = FAILED if len(names) == len(looked) else WARNING
                yield Finding(f"camera {camera.name}", severity, f"{what} in {_of(names, looked)}", remedy)


def _lacking(robot: RobotSpec, measured: Measured) -> Findings:
    for stream in declared_rates(robot):
        if not any(stream in one.timings for one in measured):
            yield Finding(stream, WARNING, "declared, but recorded in no episode", "leave it out of the robot spec")


def _words(robot: RobotSpec, measured: Measured) -> Findings:
    silent = [one.name for one in measured if not one.instruction.strip()]
    if silent:
        what = f"no instruction in {_of(silent, measured)}"
        severity = WARNING if robot.cameras else NOTE
        yield Finding("instruction", severity, what, "say in words what each of them shows")
    if len({one.session for one in measured}) == 1:
        what = f"all {len(measured)} episodes are of one session"
        yield Finding("sessions", WARNING, what, "record more: none can be held back to validate on")


def _copies(robot: RobotSpec, measured: Measured) -> Findings:
    same: dict[str, list[EpisodeFigures]] = defaultdict(list)
    for one in measured:
        same[one.digest].append(one)
    copies = [one.name for group in same.values() for one in group[1:]]
    if copies:
        parted = any(len({one.session for one in group}) > 1 for group in same.values())
        what = f"{_of(copies, measured)} are copies of others" + (", in other sessions" if parted else "")
        yield Finding("copies", FAILED if parted else WARNING, what, "leave them out")


def _sum(counts: Iterator[npt.NDArray[np.int64]]) -> list[int]:
    return [int(count) for count in np.sum(list(counts), axis=0)]


def _having(stream: str, measured: Measured) -> Iterator[tuple[EpisodeFigures, Timing]]:
    return ((one, one.timings[stream]) for one in measured if stream in one.timings)


def _of(names: Sequence[str], measured: Measured) -> str:
    """How many episodes these are, and which."""
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} of {len(measured)} episodes ({shown})"
