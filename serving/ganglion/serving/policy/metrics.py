"""What is counted and timed of a policy host: names, meanings, labels and buckets, defined once for every transport.

A sink keeps the values: `ganglion.serving.policy.prometheus` in a process of ours, `ganglion.serving.triton.metrics` in
Triton's. docs/reference/metrics.md is checked against this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Metric:
    """One metric.

    name     as Prometheus reads it; counters end in _total
    kind     what it is
    meaning  its help text
    label    its only label, "" for none; a gauge is of one process, and its sink adds the label "process"
    values   all that the label can be
    buckets  upper bounds of a histogram
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    label: str = ""
    values: tuple[str, ...] = ("",)
    buckets: tuple[float, ...] = ()


LEGS = ("encoder", "head", "total")
FLAGS = ("gap", "warming", "nonfinite", "no_state", "no_frame", "stale_frame", "bad_frame")
# A hop lasts 20 ms by default: what takes longer can't be served at rate.
_HOP_S = (0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
_AGE_S = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
_ENCODE_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

HOP = Metric(
    "ganglion_policy_hop_seconds",
    "histogram",
    "From a message with a hop to its reply, within the host: the sensor encoder, the head, and all of it",
    "leg",
    LEGS,
    _HOP_S,
)
QUEUE = Metric(
    "ganglion_policy_queue_seconds",
    "histogram",
    "Between a message's arrival and its turn; Triton has nv_inference_queue_duration_us instead",
    buckets=_HOP_S,
)
VL_AGE = Metric(
    "ganglion_policy_vl_age_seconds",
    "histogram",
    "Age of the VL features that a reply used, from the frame's exposure",
    buckets=_AGE_S,
)
VL_ENCODE = Metric(
    "ganglion_policy_vl_encode_seconds",
    "histogram",
    "From a robot's frames to VL features, decoding and preprocessing included",
    buckets=_ENCODE_S,
)
REPLIES = Metric("ganglion_policy_replies_total", "counter", "Replies to hops", "ready", ("true", "false"))
FLAGGED = Metric("ganglion_policy_flags_total", "counter", "Replies that carried the flag", "flag", FLAGS)
SESSIONS = Metric("ganglion_policy_sessions", "gauge", "Robots that have a session")
BEGUN = Metric("ganglion_policy_sessions_begun_total", "counter", "Sessions begun")
ENDED = Metric(
    "ganglion_policy_sessions_ended_total",
    "counter",
    "Sessions ended: by their client, by silence, begun anew, or with the host",
    "why",
    ("client", "idle", "anew", "closed"),
)
REFUSED = Metric(
    "ganglion_policy_refused_total",
    "counter",
    "Messages refused: no place is free, the robot has no session, or it is another client's",
    "why",
    ("full", "no_session", "other_client"),
)
ERRORS = Metric(
    "ganglion_policy_errors_total",
    "counter",
    "Messages that failed: they don't fit the robot, something failed in a known way, or in an unforeseen one",
    "kind",
    ("input", "failed", "internal"),
)
READY = Metric(
    "ganglion_policy_ready_timestamp_seconds",
    "gauge",
    "When the process last found that it can serve (Unix time): warmed up, its threads alive",
)
DROPPED = Metric(
    "ganglion_policy_observations_dropped_total", "counter", "Values that could not be handed to the server's metrics"
)

METRICS = (HOP, QUEUE, VL_AGE, VL_ENCODE, REPLIES, FLAGGED, SESSIONS, BEGUN, ENDED, REFUSED, ERRORS, READY, DROPPED)
PROCESS = "process"


class Sink(Protocol):
    """Keeps the values of metrics."""

    def add(self, metric: Metric, value: str = "", amount: float = 1.0) -> None:
        """To a counter, or to the gauge of sessions; `value` is that of the label."""

    def observe(self, metric: Metric, value: str, seconds: float) -> None:
        """Of a histogram."""


class NoSink:
    """Keeps nothing."""

    def add(self, metric: Metric, value: str = "", amount: float = 1.0) -> None:
        """Nothing."""

    def observe(self, metric: Metric, value: str, seconds: float) -> None:
        """Nothing."""
