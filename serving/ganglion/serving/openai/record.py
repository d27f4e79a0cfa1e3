"""What is told of a request: counted, an event, a trace. Its id, sizes and times; never its content."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ganglion.core.event_log import fields
from ganglion.serving.openai.errors import ApiError
from ganglion.serving.openai.metrics import ServerMetrics
from ganglion.serving.openai.replies import Reply, usage
from ganglion.serving.tracing import Leg, trace_past

LOG = logging.getLogger("ganglion.serving.openai")
CLIENT_GONE = "client_gone"
CLIENT_CLOSED = 499  # a status for the log; nobody receives it


@dataclass
class RequestRecord:
    """One request, from its first byte to its last.

    outcome  "stop" and "length" as the client is told; "refused", "failed", or that the client went away
    first_s  seconds to the first token
    tracer   OpenTelemetry's; None for no traces
    """

    reply: Reply
    metrics: ServerMetrics
    tracer: Any | None = None
    started: float = field(default_factory=time.perf_counter)
    outcome: str = "failed"
    status: int = 200
    body_bytes: int = 0
    images: int = 0
    stream: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0
    first_s: float | None = None
    _last: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        """Of the reply: its id, which the log has too."""
        return {"x-request-id": self.reply.id}

    @property
    def usage(self) -> dict[str, int]:
        """Tokens read and written so far."""
        return usage(self.prompt_tokens, self.answer_tokens)

    def count(self, step: Sequence[int]) -> None:
        """Tokens have come, at least one."""
        now = time.perf_counter()
        if self.first_s is None:
            self.first_s = now - self.started
            self.metrics.first_token.observe(self.first_s)
        else:
            for _ in step:
                self.metrics.per_token.observe((now - self._last) / len(step))
        self._last = now
        self.answer_tokens += len(step)
        self.metrics.tokens.inc(len(step))

    def refused(self, failure: ApiError, error: BaseException | None = None) -> Response:
        """The reply of a request that is not answered; of an unforeseen error, the log has the kind."""
        self.outcome, self.status = "failed" if failure.status >= 500 else "refused", failure.status
        self.metrics.refused.labels(str(failure.status)).inc()
        if failure.status == 500:
            LOG.error("failure", extra=fields(id=self.reply.id, error=type(error).__name__))
        return failure.reply(self.headers)

    def tell(self) -> None:
        """It is over."""
        self.metrics.requests.labels(self.outcome).inc()
        total_s = time.perf_counter() - self.started
        told = fields(
            id=self.reply.id,
            status=self.status,
            outcome=self.outcome,
            stream=self.stream,
            body_bytes=self.body_bytes,
            images=self.images,
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
            first_ms=None if self.first_s is None else round(self.first_s * 1e3, 1),
            total_ms=round(total_s * 1e3, 1),
        )
        LOG.info("chat", extra=told)
        if self.tracer is not None:
            trace_past(self.tracer, "vlm.chat", total_s, self._legs(total_s), self._attributes())

    def _legs(self, total_s: float) -> list[Leg]:
        if self.first_s is None:
            return []
        return [Leg("first_token", 0.0, self.first_s), Leg("further_tokens", self.first_s, total_s)]

    def _attributes(self) -> dict[str, str | int]:
        """By OpenTelemetry's conventions for generative models, where these have a name for it."""
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": self.reply.model,
            "gen_ai.response.id": self.reply.id,
            "gen_ai.usage.input_tokens": self.prompt_tokens,
            "gen_ai.usage.output_tokens": self.answer_tokens,
            "ganglion.outcome": self.outcome,
            "http.response.status_code": self.status,
        }
