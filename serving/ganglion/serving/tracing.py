"""Traces of hops and VLM requests by OpenTelemetry: pip install 'ganglion[otel]'.

Nothing is traced, and nothing sent anywhere, unless OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) names a
collector. OpenTelemetry's other variables hold, too: OTEL_SDK_DISABLED, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER.

Spans are made when what they tell of is over, from times that were measured anyway.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.messages import Reply

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EVERY_S = 1.0  # between two hops of a host that are traced


@dataclass(frozen=True)
class Leg:
    """A part of what is traced: seconds from its begin, and to its end."""

    name: str
    from_s: float
    to_s: float


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a collector."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and any(environ.get(name) for name in _ENDPOINTS)


def open_tracer() -> Any | None:
    """OpenTelemetry's tracer of this process; None where none is wanted.

    Raises:
        InputError: one is, but OpenTelemetry is not installed.
    """
    if not is_wanted():
        return None
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise InputError(
            "wants traces, but OpenTelemetry is not installed",
            where=next(name for name in _ENDPOINTS if os.environ.get(name)),
            remedy="pip install 'ganglion[otel]', or unset it",
        ) from None
    if not isinstance(trace.get_tracer_provider(), TracerProvider):  # the program that calls may have chosen one
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "ganglion"}
        provider = TracerProvider(resource=Resource.create(name))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer("ganglion")


def trace_past(tracer: Any, name: str, seconds: float, legs: Sequence[Leg], attributes: Mapping[str, Any]) -> None:
    """A span that ends now and began `seconds` ago, and one for each leg in it."""
    from opentelemetry.trace import set_span_in_context

    begin_ns = time.time_ns() - round(seconds * 1e9)
    span = tracer.start_span(name, start_time=begin_ns, attributes=dict(attributes))
    within = set_span_in_context(span)
    for leg in legs:
        part = tracer.start_span(leg.name, context=within, start_time=begin_ns + round(leg.from_s * 1e9))
        part.end(begin_ns + round(leg.to_s * 1e9))
    span.end(begin_ns + round(seconds * 1e9))


class HopTracer:
    """Traces at most one hop in a second, for one in fifty tells as much as all.

    Args:
        tracer: OpenTelemetry's.
        clock: seconds, monotonic.
    """

    def __init__(self, tracer: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracer, self._clock, self._next_s = tracer, clock, clock()

    @classmethod
    def from_environment(cls) -> HopTracer | None:
        """One, where the environment names a collector.

        Raises:
            InputError: it does, but OpenTelemetry is not installed.
        """
        tracer = open_tracer()
        return None if tracer is None else cls(tracer)

    def hop(self, session: str, reply: Reply, seconds: float) -> None:
        """Of a reply that took so long. The encoder is drawn at its begin, the head at its end, as they follow."""
        now = self._clock()
        if now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        encoder, head = (reply.timings_ms.get(leg, 0.0) * 1e-3 for leg in ("encoder", "head"))
        legs = [Leg("encoder", 0.0, encoder), Leg("head", max(0.0, seconds - head), seconds)]
        told = {
            "ganglion.session": session,
            "ganglion.ready": reply.ready,
            "ganglion.flags": list(reply.flags),
            "ganglion.last_seq": reply.last_seq,
        }
        if reply.vl_age_ms is not None:
            told["ganglion.vl_age_ms"] = reply.vl_age_ms
        trace_past(self._tracer, "policy.hop", seconds, legs, told)
