"""What the model `vlm` adds to Triton's metrics, under the names of serving.openai.metrics."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as triton  # the python backend's own

from ganglion.serving.triton.vlm_host import Asked
from ganglion.serving.vlm.scheduler import Load

_LOAD = {
    "running": "Answers that are being written",
    "waiting": "Requests that wait",
    "kv_bytes": "Cache that running answers may come to need",
    "kv_bytes_budget": "Cache that there is",
}


class VlmMetrics:
    """Counters and gauges of one model."""

    def __init__(self) -> None:
        # Triton drops a family that nobody holds.
        self._families: list[Any] = []
        self._requests = self._family("requests_total", "Requests by how they ended", counter=True)
        self._prompt = self._family("prompt_tokens_total", "Tokens of prompts", counter=True).Metric()
        self._answer = self._family("generated_tokens_total", "Tokens of answers", counter=True).Metric()
        self._gauges = {name: self._family(name, text, counter=False).Metric() for name, text in _LOAD.items()}
        self._outcomes: dict[str, Any] = {}

    def ended(self, asked: Asked) -> None:
        """Count a question that is over."""
        if asked.outcome not in self._outcomes:
            self._outcomes[asked.outcome] = self._requests.Metric(labels={"outcome": asked.outcome})
        self._outcomes[asked.outcome].increment(1)
        self._prompt.increment(asked.prompt_tokens)
        self._answer.increment(asked.answer_tokens)

    def loaded(self, load: Load) -> None:
        """Show what goes on."""
        for name, gauge in self._gauges.items():
            gauge.set(getattr(load, name))

    def close(self) -> None:
        """Let go of them: what is dropped when the process has let go of the server ends it by a fault."""
        del self._requests, self._prompt, self._answer
        self._gauges.clear()
        self._outcomes.clear()
        self._families.clear()

    def _family(self, name: str, text: str, counter: bool) -> Any:
        kinds = triton.MetricFamily
        family = kinds(name=f"ganglion_vlm_{name}", description=text, kind=kinds.COUNTER if counter else kinds.GAUGE)
        self._families.append(family)
        return family
