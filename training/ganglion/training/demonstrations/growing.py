"""A set of episodes that are made, not found: it grows one by one, and goes on where it was interrupted.

Attempts are numbered, and what comes of one depends on its number alone. The set holds what came of the first ones that
succeeded, in their order: whoever makes them, and however often that was interrupted, it is the same to the bit. Each
episode notes its attempt, so nothing else has to be kept to know where to go on.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.specs import RobotSpec, to_dict
from ganglion.training.claim import first_difference
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.episode_set import (
    EpisodeSet,
    SetWriter,
    clear_set,
    describe_set,
    discard_episodes,
    is_set,
)
from ganglion.training.locking import lock, open_lock

KIND = "synth"  # of the source of such a set
_HOPELESS = 100  # attempts in a row that failed

Make = Callable[[int], Episode | None]
_Made = Generator[Episode | None, None, None]


@dataclass(frozen=True)
class Growing:
    """What a set is to be.

    robot    of its episodes
    options  what decides what an attempt gives, as JSON data
    make     attempt number -> its episode, or None if it failed; picklable, if several processes are to make them
    count    episodes that the set shall have; one that has fewer may grow
    """

    robot: RobotSpec
    options: Mapping[str, Any]
    make: Make
    count: int


def grow_set(folder: Path, growing: Growing, *, workers: int = 1, force: bool = False) -> int:
    """Bring a set to its count of episodes; returns how many attempts that took in all.

    Args:
        folder: of the set; empty, not there yet, or with what a run with the same options left.
        growing: what it is to be.
        workers: processes that make episodes.
        force: discard another set that was made so.

    Raises:
        InputError: the folder holds something else, another set, more episodes, or has another run at it.
        GanglionError: the disk is full, a process died, or all attempts fail.
    """
    if folder.exists() and not is_set(folder) and not _is_blank(folder):
        raise InputError("holds something other than a set of episodes", where=folder, remedy="choose another --out")
    with open_lock(folder) as opened:
        lock(opened)
        _prepare(folder, growing, force)
        attempts = _fill(folder, growing, workers)
        failed = attempts - growing.count
        notes = [f"{failed} of {attempts} attempts failed and were left out"] if failed else []
        _describe(folder, growing, notes)
    return attempts


def _is_blank(folder: Path) -> bool:
    return folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())


def _prepare(folder: Path, growing: Growing, force: bool) -> None:
    if is_set(folder):
        held = SetWriter(folder)
        if held.source.get("kind") != KIND:
            raise InputError("holds episodes from elsewhere", where=folder, remedy="choose another --out")
        if force:
            discard_episodes(folder)
        else:
            _refuse_another(folder, held, growing)
    clear_set(folder)
    _describe(folder, growing, [])


def _refuse_another(folder: Path, held: SetWriter, growing: Growing) -> None:
    remedy = "choose another --out, undo the change, or --force to start anew"
    found, wanted = (
        {**options, "robot": to_dict(robot)}
        for options, robot in ((held.source, held.robot), (growing.options, growing.robot))
    )
    if difference := first_difference(found, wanted):
        raise InputError(f"holds a set made with another {difference}", where=folder, remedy=remedy)
    if len(held.names) > growing.count:
        what = f"holds {len(held.names)} episodes, {growing.count} are asked for"
        raise InputError(what, where=folder, remedy=remedy)
    if held.names and int(held.names[-1]) + 1 != len(held.names):
        raise InputError("lacks an episode in between", where=folder, remedy="choose another --out, or --force")


def _describe(folder: Path, growing: Growing, notes: list[str]) -> None:
    describe_set(folder, growing.robot, {"kind": KIND, **growing.options, "episodes": growing.count, "notes": notes})


def _fill(folder: Path, growing: Growing, workers: int) -> int:
    """Make what is missing; returns the number of the first attempt that wasn't needed."""
    writer = SetWriter(folder)
    there = len(writer.names)
    number = EpisodeSet(folder).notes(writer.names[-1])["attempt"] + 1 if there else 0
    missing, in_vain = growing.count - there, 0
    bar = tqdm(total=growing.count, initial=there, desc="recording", unit="episode", disable=None, leave=False)
    with bar, closing(_attempts(growing.make, number, workers, lambda: missing)) as attempts:
        while missing:
            episode = next(attempts)
            if episode is not None:
                writer.add(replace(episode, notes={**episode.notes, "attempt": number}))
                missing, in_vain = missing - 1, 0
                bar.update()
            elif (in_vain := in_vain + 1) == _HOPELESS:
                raise GanglionError(f"the last {in_vain} attempts failed", where=folder)
            number += 1
    return int(number)


def _attempts(make: Make, first: int, workers: int, missing: Callable[[], int]) -> _Made:
    """What comes of each attempt from the first on, in order; several are made at once while so many are missing."""
    if workers == 1:
        yield from map(make, itertools.count(first))
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_obey)
    numbers, ahead = itertools.count(first), deque[Future[Episode | None]]()
    try:
        while True:
            while len(ahead) < min(2 * workers, missing()):
                ahead.append(pool.submit(make, next(numbers)))
            yield ahead.popleft().result()
    except BrokenProcessPool:
        raise GanglionError(
            "a process that makes episodes was ended from outside",
            remedy="run the same command again to go on, with fewer --workers if memory ran out",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _obey() -> None:
    """Let the main process alone be interrupted, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
