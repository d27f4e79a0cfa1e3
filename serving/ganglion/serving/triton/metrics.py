"""A policy host's metrics in Triton's own /metrics.

Each value that Triton is told costs a round trip to the server: 17 us (2.51, from a stub with nothing else to do), and
half a dozen for a hop. So a hop leaves them in a queue, and a thread hands them over four times a second: counts summed
up; what histograms observe one by one, for Triton takes no other way, and of that so many drawn by chance that no hop
waits behind them (16 robots' whole lots moved a hop's p99 by 20 ms). It does not hold the GIL meanwhile.

Instances add to the same counters and histograms; gauges are of each.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import triton_python_backend_utils as triton  # the python backend's own

from ganglion.core.event_log import fields
from ganglion.serving.policy.metrics import DROPPED, METRICS, PROCESS, READY, Metric

LOG = logging.getLogger("ganglion.serving.triton")
_EVERY_S = 0.25
_OBSERVED = 6  # values of each histogram, each time
_WAITING = 50_000  # values; eight robots at 50 Hz leave 600 in a quarter of a second


class TritonSink:
    """Values on their way to Triton. Made in a model's `initialize`.

    Args:
        ready: whether this instance can serve.
        process: its name.
    """

    def __init__(self, ready: Callable[[], bool], process: str) -> None:
        self._ready, self._dropped = ready, 0
        self._waiting: deque[tuple[Metric, str, float]] = deque()
        self._levels: defaultdict[str, float] = defaultdict(float)  # of gauges
        self._families = []  # kept, for a family takes its metrics with it
        self._of: dict[tuple[str, str], Any] = {}
        for metric in METRICS:
            kind = getattr(triton.MetricFamily, metric.kind.upper())
            family = triton.MetricFamily(name=metric.name, description=metric.meaning, kind=kind)
            self._families.append(family)
            buckets = {"buckets": [*metric.buckets]} if metric.buckets else {}
            for value in metric.values:
                labels = {metric.label: value} if metric.label else {}
                if metric.kind == "gauge":
                    labels = {PROCESS: process}
                self._of[metric.name, value] = family.Metric(labels=labels, **buckets)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def add(self, metric: Metric, value: str = "", amount: float = 1.0) -> None:
        """To a counter, or to the gauge of sessions."""
        if len(self._waiting) < _WAITING:
            self._waiting.append((metric, value, amount))
        else:
            self._dropped += 1

    def observe(self, metric: Metric, value: str, seconds: float) -> None:
        """Of a histogram."""
        self.add(metric, value, seconds)

    def close(self) -> None:
        """Hand over what waits, and end."""
        self._closing.set()
        self._thread.join()
        # What is dropped later, when the process has let go of the server, ends it by a fault.
        self._of.clear()
        self._families.clear()

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            try:
                self._hand_over()
            except Exception:  # of one value: the others, and the pulse, go on
                LOG.exception("metrics_failed", extra=fields())
        self._hand_over()

    def _hand_over(self) -> None:
        sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        dropped, self._dropped = self._dropped, 0
        sums[DROPPED.name, ""] = dropped
        observed: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(len(self._waiting)):
            metric, value, amount = self._waiting.popleft()
            if metric.kind == "histogram":
                observed[metric.name, value].append(amount)
            elif metric.kind == "counter":
                sums[metric.name, value] += amount
            else:
                self._levels[metric.name] += amount
        for key, amounts in observed.items():
            for amount in random.sample(amounts, min(_OBSERVED, len(amounts))):
                self._of[key].observe(amount)
        if self._ready():
            self._levels[READY.name] = time.time()
        for key, total in sums.items():
            if total:
                self._of[key].increment(total)
        for name, level in self._levels.items():
            self._of[name, ""].set(level)
