"""The acquisition process: reads a sample source at absolute deadlines and writes the ring.

    python -m ganglion.robot_bridge.acquisition '{"ring": NAME, "robot": {...}, "source": {...}, ...}'

Started by `child.AcquisitionChild`. It ends on SIGTERM, on an error, and when its parent ends; in the last two cases
it removes the ring's name. Its last line on stdout is an `AcquisitionReport` as JSON. Nothing is dropped after a
stall: late samples are read at once, one after the other, and counted as late.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ganglion.core.errors import GanglionError
from ganglion.core.specs import RobotSpec, SensorSpec, robot_from_dict
from ganglion.robot_bridge.pacing import Sleeper, die_with_parent, enter_real_time
from ganglion.robot_bridge.ring import Ring, RingWriter
from ganglion.robot_bridge.segment import remove_abandoned
from ganglion.robot_bridge.source import EndOfSamples, SampleSource, SourceName, open_source

_HISTOGRAM_US = 100_000
_START_DELAY_NS = 20_000_000
_PARENT_ENDED = signal.SIGUSR1  # not SIGTERM, by which the parent itself ends this process
_SWEEPS, _SWEEP_S = 20, 0.05


@dataclass(frozen=True)
class AcquisitionReport:
    """How punctual acquisition was. Lateness: from when a sample was due to when its reading began.

    late   ticks that began more than one sample period after they were due
    ended  whether the source came to its end
    """

    samples: int
    lost_at_source: int
    late: int
    lateness_us: dict[str, float]
    cpu_share: float
    scheduler: str
    memory_locked: bool
    ended: bool


@dataclass(frozen=True)
class AcquisitionConfig:
    """What the process is told, as JSON. wake_fd gets one byte per hop; parent is the process to end with."""

    ring: str
    robot: RobotSpec
    source: SourceName
    wake_fd: int
    parent: int
    priority: int

    def to_json(self) -> str:
        """The command line argument."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> AcquisitionConfig:
        """Read the command line argument."""
        data: dict[str, Any] = json.loads(text)
        data["robot"], data["source"] = robot_from_dict(data["robot"]), SourceName(**data["source"])
        return AcquisitionConfig(**data)


class Lateness:
    """Lateness of every tick of a run of any length, to 1 us, in constant memory."""

    def __init__(self) -> None:
        self._counts = np.zeros(_HISTOGRAM_US + 1, np.int64)
        self._max_us = 0.0

    def add(self, late_ns: int) -> None:
        """Count one tick."""
        late_us = late_ns / 1e3
        self._counts[min(int(late_us), _HISTOGRAM_US)] += 1
        self._max_us = max(self._max_us, late_us)

    def summary(self) -> dict[str, float]:
        """p50, p99, p99.9 and max in microseconds; empty if nothing was counted."""
        cumulative = np.cumsum(self._counts)
        if not cumulative[-1]:
            return {}
        quantiles = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
        found = {name: float(np.searchsorted(cumulative, q * cumulative[-1])) for name, q in quantiles.items()}
        return {**{name: min(value, self._max_us) for name, value in found.items()}, "max": self._max_us}


def acquire(
    ring: Ring, source: SampleSource, sensor: SensorSpec, wake: Callable[[], None], stopped: Callable[[], bool]
) -> tuple[int, int, int, Lateness, bool]:
    """Read samples on time until `stopped` or the source's end.

    Returns:
        samples due, lost at the source, late, and their lateness; and whether it was the source's end
    """
    writer, sleeper, lateness = RingWriter(ring), Sleeper(), Lateness()
    period_ns = 1e9 / sensor.rate_hz
    start = ring.start_ns = time.monotonic_ns() + _START_DELAY_NS
    seq = lost = late = 0
    while True:
        due = start + round(seq * period_ns)
        now = sleeper.until(due)
        if stopped():
            return seq, lost, late, lateness, False
        lateness.add(now - due)
        late += now - due > period_ns
        try:
            stamp = source.read(seq, due, writer.claim(seq))
        except EndOfSamples:
            return seq, lost, late, lateness, True
        if stamp is None:
            lost += 1
        else:
            writer.publish(seq, stamp, time.monotonic_ns())
        seq += 1
        if seq % sensor.hop_samples == 0:
            wake()


def main(argument: str) -> int:
    """The process; returns its exit code."""
    config = AcquisitionConfig.from_json(argument)
    ring = Ring.attach(config.ring)
    stop: list[int] = []
    orphaned: list[int] = []

    def parent_ended(number: int, _: object) -> None:
        if not orphaned:  # it comes again for each of the parent's threads that the process is handed on to
            orphaned.append(number)
            sys.exit(1)  # nobody waits for a report: don't let a source that blocks keep the process

    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both; the parent decides
    signal.signal(_PARENT_ENDED, parent_ended)
    os.set_blocking(config.wake_fd, False)

    def wake() -> None:
        try:
            os.write(config.wake_fd, b"\0")
        except BlockingIOError:
            pass  # full: the reader has plenty to wake up for
        except BrokenPipeError:
            orphaned.append(0)

    try:
        if not die_with_parent(config.parent, _PARENT_ENDED):
            orphaned.append(0)
            return 1
        source: SampleSource = open_source(config.source, config.robot)
        try:
            granted = enter_real_time(config.priority, lock_memory=True)
            started = time.monotonic(), time.process_time()
            sensor = config.robot.sensors[0]
            counted = acquire(ring, source, sensor, wake, lambda: bool(stop or orphaned))
            share = (time.process_time() - started[1]) / (time.monotonic() - started[0])
        finally:
            source.close()
        samples, lost, late, lateness, ended = counted
        report = AcquisitionReport(
            samples, lost, late, lateness.summary(), share, granted.scheduler, granted.locked, ended
        )
        print(json.dumps(asdict(report)), flush=True)
        return 0
    finally:
        if orphaned:
            ring.unlink()
            _sweep()


def _sweep() -> None:
    """Remove what the parent would have, such as a simulated world's link; its locks go while it is taken down."""
    for _ in range(_SWEEPS):
        remove_abandoned()
        time.sleep(_SWEEP_S)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except GanglionError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
