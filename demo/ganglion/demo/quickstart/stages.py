"""Runs stages as child processes, several at once where they do not need each other, each with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ganglion.core.errors import GanglionError

_POLL_S = 0.1
_STOP_S = 10.0


@dataclass(frozen=True)
class Stage:
    """One child process.

    argv       arguments after `python`, as a user could type them
    needs      names of stages that must have finished
    threads    compute threads it may use
    alone      nothing else runs beside it, so that what it measures is its own
    processes  that it computes in, which share the threads; with more threads than cores each waits for the others
    """

    name: str
    argv: Sequence[str]
    needs: Sequence[str] = ()
    threads: int = 1
    alone: bool = False
    processes: int = 1


@dataclass
class _Running:
    stage: Stage
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)


def run_stages(
    stages: Sequence[Stage], logs: Path, lanes: int, known: Set[str], finished: Callable[[str, float], None]
) -> None:
    """Run all stages, at most `lanes` threads' worth at once.

    Args:
        stages: what to run.
        logs: folder for one log per stage.
        lanes: how many threads may compute at once.
        known: stages that finished in an earlier run.
        finished: told each stage's name and seconds when it has succeeded.

    Raises:
        GanglionError: a stage failed; the message names its log. All others are stopped first.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running, done = list(stages), list[_Running](), set(known)
    quiet = not sys.stderr.isatty()
    bar = tqdm(total=len(stages), disable=quiet, bar_format="{n_fmt}/{total_fmt} |{bar:20}| {elapsed} {postfix}")
    say: Callable[[str], None] = (lambda line: print(line, flush=True)) if quiet else bar.write
    try:
        while waiting or running:
            for stage in _ready(waiting, running, done, lanes):
                waiting.remove(stage)
                running.append(_start(stage, logs))
            bar.set_postfix_str(", ".join(one.stage.name for one in running))
            time.sleep(_POLL_S)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                if one.process.returncode:
                    raise _failure(one)
                seconds = round(time.monotonic() - one.started, 1)
                done.add(one.stage.name)
                finished(one.stage.name, seconds)
                say(f"  {one.stage.name:<28} {seconds:6.1f} s")
                bar.update()
    finally:
        _stop(running)
        bar.close()


def _ready(waiting: list[Stage], running: list[_Running], done: set[str], lanes: int) -> list[Stage]:
    if any(one.stage.alone for one in running):
        return []
    busy = sum(one.stage.threads for one in running)
    chosen: list[Stage] = []
    for stage in waiting:
        if not all(need in done for need in stage.needs):
            continue
        if stage.alone and not running and not chosen:
            return [stage]
        if not stage.alone and (busy + stage.threads <= lanes or busy == 0):
            busy += stage.threads
            chosen.append(stage)
    return chosen


def _start(stage: Stage, logs: Path) -> _Running:
    log = logs / f"{stage.name.replace(' ', '_')}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *stage.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(stage.threads // stage.processes)},
        )
    return _Running(stage, process, log)


def _failure(one: _Running) -> GanglionError:
    lines = [line for line in one.log.read_text(errors="replace").splitlines() if line.strip()]
    reason = lines[-1].removeprefix("ganglion: ") if lines else f"exit code {one.process.returncode}"
    return GanglionError(reason, where=f"stage {one.stage.name!r}", remedy=f"see {one.log}")


def _stop(running: list[_Running]) -> None:
    for one in running:
        one.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_S
    for one in running:
        try:
            one.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
