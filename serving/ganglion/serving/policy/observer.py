"""What a policy host tells of itself: metrics of every message, and events (`ganglion.core.event_log`) of what is rare.

A session is named by an id of its own, which is neither the robot's number nor the token that its client drew. The
number has up to 64 bits, which JSON's readers round: it is told as a text.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.event_log import fields
from ganglion.core.messages import Reply
from ganglion.serving.policy import metrics
from ganglion.serving.policy.metrics import NoSink, Sink
from ganglion.serving.tracing import HopTracer

LOG = logging.getLogger("ganglion.serving.policy")


@dataclass
class SessionRecord:
    """One session, as it is told of.

    begun_s    by the host's clock
    encode_ms  of the VL features that the last reply used; None before any
    flags      of the last reply
    """

    robot: int
    begun_s: float
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    replies: int = 0
    encode_ms: float | None = None
    flags: tuple[str, ...] = ()


class HostObserver:
    """Told by a `PolicyHost` of all that happens. For one thread.

    Args:
        sink: keeps metrics.
        tracer: traces hops; a host of ours has `HopTracer.from_environment()`, Triton traces by itself.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sink: Sink | None = None,
        tracer: HopTracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink, self._tracer, self._clock = sink or NoSink(), tracer, clock

    def waited(self, seconds: float) -> None:
        """A message lay so long between its arrival and its turn; for transports that know."""
        self._sink.observe(metrics.QUEUE, "", seconds)

    def begun(self, robot: int) -> SessionRecord:
        """A session is."""
        record = SessionRecord(robot, self._clock())
        self._sink.add(metrics.BEGUN)
        self._sink.add(metrics.SESSIONS)
        LOG.info("session_begun", extra=fields(session=record.id, robot=str(robot)))
        return record

    def ended(self, record: SessionRecord, why: str) -> None:
        """A session is; `why` is one of the metric's values."""
        self._sink.add(metrics.ENDED, why)
        self._sink.add(metrics.SESSIONS, amount=-1)
        seconds = round(self._clock() - record.begun_s, 3)
        told = fields(session=record.id, robot=str(record.robot), why=why, replies=record.replies, seconds=seconds)
        LOG.info("session_ended", extra=told)

    def refused(self, robot: int, why: str) -> None:
        """A message is; `why` is one of the metric's values."""
        self._sink.add(metrics.REFUSED, why)
        LOG.warning("refused", extra=fields(robot=str(robot), why=why))

    def failed(self, robot: int, error: Exception, record: SessionRecord | None = None) -> None:
        """A message did, or could not even be read."""
        kind = "failed" if isinstance(error, GanglionError) else "internal"
        if isinstance(error, InputError):
            kind = "input"
        self._sink.add(metrics.ERRORS, kind)
        said = " ".join((str(error) if kind != "internal" else repr(error)).split())[:300]
        level = logging.WARNING if kind == "input" else logging.ERROR
        session = record.id if record else None
        LOG.log(level, "error", extra=fields(session=session, robot=str(robot), kind=kind, error=said))

    def replied(self, record: SessionRecord, reply: Reply, seconds: float) -> None:
        """A hop is answered, `seconds` after its message was taken up."""
        sink, timings_ms = self._sink, reply.timings_ms
        sink.observe(metrics.HOP, "total", seconds)
        for leg in metrics.LEGS:
            if (took_ms := timings_ms.get(leg)) is not None:
                sink.observe(metrics.HOP, leg, took_ms * 1e-3)
        if reply.vl_age_ms is not None:
            sink.observe(metrics.VL_AGE, "", reply.vl_age_ms * 1e-3)
        encode_ms = timings_ms.get("vl_encoder")
        if encode_ms is not None and encode_ms != record.encode_ms:  # new features: no two took the same to the bit
            sink.observe(metrics.VL_ENCODE, "", encode_ms * 1e-3)
            record.encode_ms = encode_ms
        sink.add(metrics.REPLIES, "true" if reply.ready else "false")
        for flag in reply.flags:
            sink.add(metrics.FLAGGED, flag)
        if reply.flags != record.flags:
            changed = {"flags": reply.flags, "before": record.flags, "ready": reply.ready}
            LOG.info("flags_changed", extra=fields(session=record.id, robot=str(record.robot), **changed))
            record.flags = reply.flags
        record.replies += 1
        if self._tracer is not None:
            self._tracer.hop(record.id, reply, seconds)
