"""What is told of a request: counted, and logged as one line of JSON. Its id, sizes and times; never its content."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.responses import Response

from ganglion.serving.openai.errors import ApiError
from ganglion.serving.openai.metrics import ServerMetrics
from ganglion.serving.openai.replies import Reply, usage

LOG = logging.getLogger("ganglion.serving.openai")
CLIENT_GONE = "client_gone"
CLIENT_CLOSED = 499  # a status for the log; nobody receives it


@dataclass
class RequestRecord:
    """One request, from its first byte to its last.

    outcome  "stop" and "length" as the client is told; "refused", "failed", or that the client went away
    first_s  seconds to the first token
    """

    reply: Reply
    metrics: ServerMetrics
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
            LOG.error(json.dumps({"event": "failure", "id": self.reply.id, "error": type(error).__name__}))
        return failure.reply(self.headers)

    def tell(self) -> None:
        """It is over."""
        self.metrics.requests.labels(self.outcome).inc()
        told = {
            "event": "chat",
            "id": self.reply.id,
            "status": self.status,
            "outcome": self.outcome,
            "stream": self.stream,
            "body_bytes": self.body_bytes,
            "images": self.images,
            "prompt_tokens": self.prompt_tokens,
            "answer_tokens": self.answer_tokens,
            "first_ms": None if self.first_s is None else round(self.first_s * 1e3, 1),
            "total_ms": round((time.perf_counter() - self.started) * 1e3, 1),
        }
        LOG.info(json.dumps(told))
