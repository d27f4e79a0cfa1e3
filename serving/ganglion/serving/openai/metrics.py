"""What Prometheus reads: how many ask, how long they wait, what memory they hold."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ganglion.serving.vlm.scheduler import Load

_FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_TOKEN_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ServerMetrics:
    """Counters of one server, in a registry of their own.

    Args:
        load: tells what goes on in its engine.
    """

    def __init__(self, load: Callable[[], Load]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "ganglion_vlm_requests", "Chat requests by how they ended", ["outcome"], registry=registry
        )
        self.refused = Counter(
            "ganglion_vlm_refused", "Chat requests refused, by status", ["status"], registry=registry
        )
        self.prompt_tokens = Counter("ganglion_vlm_prompt_tokens", "Tokens of prompts", registry=registry)
        self.tokens = Counter("ganglion_vlm_generated_tokens", "Tokens of answers, forced ones too", registry=registry)
        self.first_token = Histogram(
            "ganglion_vlm_time_to_first_token_seconds",
            "From the request to its first token",
            buckets=_FIRST_S,
            registry=registry,
        )
        self.per_token = Histogram(
            "ganglion_vlm_time_per_token_seconds",
            "Between a token and the one before; tokens that come at once share their time",
            buckets=_TOKEN_S,
            registry=registry,
        )
        for name, doc, read in (
            ("ganglion_vlm_running", "Answers that are being written", lambda: load().running),
            ("ganglion_vlm_waiting", "Requests that wait", lambda: load().waiting),
            ("ganglion_vlm_kv_bytes", "Cache that running answers may come to need", lambda: load().kv_bytes),
            ("ganglion_vlm_kv_bytes_budget", "Cache that there is", lambda: load().kv_bytes_budget),
        ):
            Gauge(name, doc, registry=registry).set_function(read)

    def text(self) -> bytes:
        """In Prometheus' own form."""
        return generate_latest(self._registry)
