"""The model `vlm` in Triton: a `VlmHost` behind the generate endpoints and gRPC streams, decoupled.

Answers of all clients are written together, token by token, by the engine's scheduler; `execute` comes back at once.
Runs in the python backend's process, whose numpy may be 1.26.
"""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy.typing as npt
import triton_python_backend_utils as triton  # the python backend's own

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.event_log import PER_REQUEST_S, fields, log_events
from ganglion.serving.triton.vlm_host import Asked, VlmHost
from ganglion.serving.triton.vlm_metrics import VlmMetrics
from ganglion.serving.triton.vlm_wire import read_request
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits
from ganglion.serving.vlm.refusals import Busy, TooLate
from ganglion.serving.vlm_request.bounds import RequestBounds
from ganglion.serving.vlm_request.request import VlmRequest
from ganglion.serving.vlm_request.wrong import WrongField

LOG = logging.getLogger("ganglion.serving.vlm")


class TritonPythonModel:
    """What the python backend calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle that the configuration's parameters name, and write a first answer."""
        parameters = json.loads(args["model_config"])["parameters"]
        given = {name: json.loads(value["string_value"]) for name, value in parameters.items()}
        limits, bounds = ServingLimits(**given["limits"]), RequestBounds()
        log = given.get("log_json")
        self._closing = ExitStack()
        self._closing.enter_context(log_events(Path(log) if log else None, per_s=PER_REQUEST_S))
        engine = VlmEngine.open(open_bundle(Path(given["bundle"])), threads=given["threads"], limits=limits)
        engine.warm_up()
        self._metrics = VlmMetrics()

        def read(sent: Any) -> VlmRequest:
            tensors, parameters = sent
            if parameters is None:
                raise WrongField("the request is not UTF-8")
            return read_request(tensors, parameters, engine.part.task, bounds)

        self._host = VlmHost(
            engine,
            read,
            bounds,
            limits.running + limits.waiting,
            self._ended,
            self._metrics.loaded,
        )

    def execute(self, requests: list[Any]) -> None:
        """Take each request; it is answered through its own sender."""
        for request in requests:
            # Copies: the request's own memory is Triton's again when this returns.
            tensors = {tensor.name(): tensor.as_numpy().copy() for tensor in request.inputs()}
            self._host.take((tensors, _parameters(request)), _Sender(request))

    def finalize(self) -> None:
        """Give up what is being answered."""
        self._host.close()
        self._metrics.close()
        self._closing.close()
        del self._host  # with the senders that it may still hold, while there is a server to send to
        gc.collect()

    def _ended(self, asked: Asked) -> None:
        self._metrics.ended(asked)
        told = fields(
            outcome=asked.outcome,
            images=asked.images,
            prompt_tokens=asked.prompt_tokens,
            answer_tokens=asked.answer_tokens,
            total_ms=round((time.perf_counter() - asked.started) * 1e3, 1),
        )
        LOG.info("chat", extra=told)


class _Sender:
    """A `Client`, by the sender of its request's responses."""

    def __init__(self, request: Any) -> None:
        self._sender, self._lost = request.get_response_sender(), False

    def tell(self, outputs: Mapping[str, npt.NDArray[Any]], last: bool) -> None:
        """Send a piece; one that can't be sent is nobody's."""
        self._send(triton.InferenceResponse([triton.Tensor(name, value) for name, value in outputs.items()]), last)

    def refuse(self, error: Exception) -> None:
        """Send what is wrong, with Triton's code for it."""
        code, text = _said(error)
        self._send(triton.InferenceResponse(error=triton.TritonError(text, code)), last=True)

    def is_gone(self) -> bool:
        """Its request was cancelled, or its connection is closed."""
        try:
            return self._lost or self._sender.is_cancelled()
        except triton.TritonModelException:
            return True

    def _send(self, response: Any, last: bool) -> None:
        try:
            self._sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)
        except triton.TritonModelException:
            self._lost = True


def _parameters(request: Any) -> dict[str, Any] | None:
    """Fields that Triton took for no input; None where they are no text."""
    try:
        found: dict[str, Any] = json.loads(request.parameters() or "{}")
    except UnicodeDecodeError:
        return None
    return found


def _said(error: Exception) -> tuple[int, str]:
    """What a client is told of an error; of an unforeseen one, nothing but that there was one."""
    if isinstance(error, InputError):
        return triton.TritonError.INVALID_ARG, str(error)
    if isinstance(error, Busy | TooLate):
        return triton.TritonError.UNAVAILABLE, str(error)
    if isinstance(error, CancelledError):
        return triton.TritonError.CANCELLED, "the client has gone"
    if isinstance(error, GanglionError):
        return triton.TritonError.INTERNAL, str(error)
    LOG.error("failure", extra=fields(error=type(error).__name__))
    return triton.TritonError.INTERNAL, "the server failed on this request"
