"""A policy host's metrics in this process, for its own /metrics: `StatusServer` shows them."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ganglion.serving.policy.metrics import METRICS, PROCESS, READY, Metric


class PrometheusSink:
    """Values in a registry of their own; all that a label can be is there from the start, at 0.

    Args:
        ready: whether the host can serve; asked whenever metrics are read.
        process: its name among hosts of one machine.
    """

    def __init__(self, ready: Callable[[], bool], process: str = "policy") -> None:
        self._registry, self._ready, self._ready_s = CollectorRegistry(), ready, 0.0
        self._counted: dict[tuple[str, str], Counter | Gauge] = {}
        self._observed: dict[tuple[str, str], Histogram] = {}
        for metric in METRICS:
            self._open(metric, process)
        ready_since = self._counted[READY.name, ""]
        assert isinstance(ready_since, Gauge)
        ready_since.set_function(self._last_ready_s)

    def add(self, metric: Metric, value: str = "", amount: float = 1.0) -> None:
        """To a counter, or to the gauge of sessions."""
        self._counted[metric.name, value].inc(amount)

    def observe(self, metric: Metric, value: str, seconds: float) -> None:
        """Of a histogram."""
        self._observed[metric.name, value].observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' own form."""
        return generate_latest(self._registry)

    def _open(self, metric: Metric, process: str) -> None:
        name, meaning, registry = metric.name, metric.meaning, self._registry
        if metric.kind == "gauge":
            self._counted[name, ""] = Gauge(name, meaning, [PROCESS], registry=registry).labels(process)
            return
        labels = [metric.label] if metric.label else []
        if metric.kind == "counter":
            counter = Counter(name, meaning, labels, registry=registry)
            self._counted |= {(name, value): counter.labels(value) if value else counter for value in metric.values}
            return
        seconds = Histogram(name, meaning, labels, buckets=metric.buckets, registry=registry)
        self._observed |= {(name, value): seconds.labels(value) if value else seconds for value in metric.values}

    def _last_ready_s(self) -> float:
        if self._ready():
            self._ready_s = time.time()
        return self._ready_s
