"""What a bridge run measured: numbers for JSON, raw traces for plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.robot_bridge.acquisition import AcquisitionReport


@dataclass(frozen=True)
class Latency:
    """Percentiles of a latency in milliseconds over `count` measurements."""

    p50: float
    p99: float
    max: float
    count: int

    @staticmethod
    def of(values_ms: Sequence[float]) -> Latency | None:
        """Of measured values; None of none."""
        if not values_ms:
            return None
        p50, p99 = np.percentile(values_ms, (50, 99))
        return Latency(float(p50), float(p99), float(max(values_ms)), len(values_ms))


@dataclass(frozen=True)
class Trace:
    """Raw data of the measured interval, for plots and for scoring (of the newest hops where the run is very long).

    legs_ms   each leg's latencies, by name
    last_seq  (n,) int64, newest sample of each reply
    predicted (n, dim) float32, row 0 of each reply's chunk, in units
    commanded (n, dim) float32, what the sink made of it
    ready     (n,) bool
    window    (window_samples, channels) float32, the last samples received; fewer rows in a very short run
    """

    legs_ms: Mapping[str, npt.NDArray[np.float64]]
    last_seq: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.float32]
    commanded: npt.NDArray[np.float32]
    ready: npt.NDArray[np.bool_]
    window: npt.NDArray[np.float32]


@dataclass(frozen=True)
class BridgeReport:
    """One run.

    seconds            measured interval: from the first ready reply (or when waiting for it was given up) to the end
    samples_*          over the whole run from sample 0 on, startup included: expected = received + lost;
                       torn are those of the lost that were overwritten while being copied
    hops               whole hops answered in the measured interval; replies fewer if some were sent together
    hop_to_action_ms   from the source stamp of each hop's newest sample to its action at the sink
    legs_ms            source_to_ring, ring_to_sender, host (the client's own name for each of its parts), sink
    vl_age_ms          age of the VL features used; None for a robot without cameras
    deadline_misses    hops whose action came later than one hop period
    holds, flags       replies by reason for holding, by flag, in the measured interval
    startup_s          from start to the first measured hop
    cpu_share          of one core, by process
    interrupted        what ended the run early, a signal's name or "end of samples"; or None
    """

    seconds: float
    samples_expected: int
    samples_received: int
    samples_lost: int
    samples_torn: int
    hops: int
    replies: int
    hop_to_action_ms: Latency | None
    legs_ms: Mapping[str, Latency]
    vl_age_ms: Latency | None
    deadline_misses: int
    holds: Mapping[str, int]
    flags: Mapping[str, int]
    frames_sent: int
    frames_skipped: int
    startup_s: float
    cpu_share: Mapping[str, float]
    scheduler: str
    acquisition: AcquisitionReport
    interrupted: str | None
    trace: Trace

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, without the trace."""
        data = {name: value for name, value in vars(self).items() if name != "trace"}
        return {name: _plain(value) for name, value in data.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Latency | AcquisitionReport):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
