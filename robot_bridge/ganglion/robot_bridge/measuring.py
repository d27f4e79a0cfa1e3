"""Counting and timing while the bridge runs: cheap to add to, summed up at the end."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.messages import Reply
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.report import BridgeReport, Latency, Trace
from ganglion.robot_bridge.ring import Samples
from ganglion.robot_bridge.sink import Applied

_KEPT = 1 << 17  # newest measurements kept for percentiles and traces: 44 minutes of hops at 50 Hz


class Measuring:
    """The figures of one run. Latencies count from the first ready reply on, or from `startup_s` after sample 0."""

    def __init__(self, robot: RobotSpec, startup_s: float) -> None:
        sensor = robot.sensors[0]
        self._hop, self._hop_ms, self._dim = sensor.hop_samples, sensor.hop_ms, robot.actions.dim
        self._window: deque[npt.NDArray[np.floating]] = deque(maxlen=sensor.window_frames)
        self._channels = sensor.channels
        self._created_ns, self._startup_ns = time.monotonic_ns(), round(startup_s * 1e9)
        self._give_up_ns = 0
        self._measured_from_ns: int | None = None
        self._stopped_ns = self._cpu_from = self._cpu_used = 0
        self._legs: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._replies: deque[tuple[int, npt.NDArray[np.float32], npt.NDArray[np.float64], bool]] = deque(maxlen=_KEPT)
        self._waiting: list[int] = []  # stamps of whole hops not answered yet
        self._holds: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()
        self._hops = self._answered = self._misses = 0

    def begin(self, start_ns: int) -> None:
        """Sample 0 is due at `start_ns` (monotonic)."""
        self._give_up_ns = start_ns + self._startup_ns

    def done(self, seconds: float) -> bool:
        """Whether `seconds` have been measured."""
        return self._measured_from_ns is not None and time.monotonic_ns() - self._measured_from_ns >= seconds * 1e9

    def buffered(self, samples: Samples) -> None:
        """Samples went to the host and no reply came: their hops are answered with the next one."""
        last = samples.first_seq + np.arange(len(samples.values))
        self._waiting += samples.stamps_ns[(last + 1) % self._hop == 0].tolist()
        for first in range(0, len(samples.values), self._hop):
            self._window.append(samples.values[first : first + self._hop])

    def answered(self, samples: Samples, reply: Reply, applied: Applied, times_ns: tuple[int, int, int]) -> None:
        """A reply reached the sink. times_ns: when the samples were read, answered, and the command was given."""
        self.buffered(samples)
        stamps, self._waiting = self._waiting, []
        read_ns, answered_ns, applied_ns = times_ns
        if self._measured_from_ns is None:
            if not reply.ready and read_ns < self._give_up_ns:
                return
            self._measured_from_ns, self._cpu_from = read_ns, time.process_time_ns()
        written_ns, source_ns = int(samples.written_ns[-1]), int(samples.stamps_ns[-1])
        legs = self._legs
        for stamp_ns in stamps:
            late_ms = (applied_ns - stamp_ns) / 1e6
            legs["hop_to_action"].append(late_ms)
            self._misses += late_ms > self._hop_ms
        legs["source_to_ring"].append((written_ns - source_ns) / 1e6)
        legs["ring_to_sender"].append((read_ns - written_ns) / 1e6)
        legs["host"].append((answered_ns - read_ns) / 1e6)
        legs["sink"].append((applied_ns - answered_ns) / 1e6)
        for name, value in reply.timings_ms.items():
            legs[f"host.{name}"].append(value)
        if reply.vl_age_ms is not None:
            legs["vl_age"].append(reply.vl_age_ms)
        self._hops += len(stamps)
        self._answered += 1
        self._flags.update(reply.flags)
        if applied.held:
            self._holds[applied.held] += 1
        self._replies.append((reply.last_seq, reply.chunk[0], applied.action, reply.ready))

    def stop(self) -> None:
        """End the measured interval."""
        self._stopped_ns, self._cpu_used = time.monotonic_ns(), time.process_time_ns() - self._cpu_from

    def report(self, *, acquisition: Any, **counted: Any) -> BridgeReport:
        """All figures; `counted` are the fields of BridgeReport that others count."""
        from_ns = self._measured_from_ns
        seconds = (self._stopped_ns - from_ns) / 1e9 if from_ns is not None else 0.0
        figures = {name: Latency.of(values) for name, values in self._legs.items()}
        return BridgeReport(
            seconds=seconds,
            hops=self._hops,
            replies=self._answered,
            hop_to_action_ms=figures.pop("hop_to_action", None),
            vl_age_ms=figures.pop("vl_age", None),
            legs_ms={name: figure for name, figure in figures.items() if figure},
            deadline_misses=self._misses,
            holds=dict(self._holds),
            flags=dict(self._flags),
            startup_s=((from_ns if from_ns is not None else self._stopped_ns) - self._created_ns) / 1e9,
            cpu_share={
                "bridge": self._cpu_used / 1e9 / seconds if seconds else 0.0,
                "acquisition": acquisition.cpu_share,
            },
            acquisition=acquisition,
            trace=self._trace(),
            **counted,
        )

    def _trace(self) -> Trace:
        seqs, predicted, commanded, ready = zip(*self._replies, strict=True) if self._replies else ((), (), (), ())
        rows = np.concatenate(self._window) if self._window else np.empty((0, self._channels))
        return Trace(
            legs_ms={name: np.asarray(values) for name, values in self._legs.items()},
            last_seq=np.asarray(seqs, np.int64),
            predicted=np.asarray(predicted, np.float32).reshape(-1, self._dim),
            commanded=np.asarray(commanded, np.float32).reshape(-1, self._dim),
            ready=np.asarray(ready, np.bool_),
            window=rows.astype(np.float32),
        )
