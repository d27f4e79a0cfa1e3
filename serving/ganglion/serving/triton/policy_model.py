"""The model `policy` in Triton: a `PolicyHost` behind the sequence batcher, one sequence for one robot.

A correlation id is a robot. The server hands over one message at a time. Frames go to the cameras' graph, a model of
its own, from threads of their own, where those of several robots share a run; no hop waits for one.

Runs in the python backend's process, whose numpy may be 1.26.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as triton  # the python backend's own

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import GanglionError
from ganglion.core.event_log import log_events
from ganglion.core.hop_check import check_length
from ganglion.core.policy_wire import PolicyRequest, error_text, read_request, reply_tensors
from ganglion.serving.policy.engine import PolicyEngine
from ganglion.serving.policy.host import PolicyHost
from ganglion.serving.policy.observer import HostObserver
from ganglion.serving.policy.vl_refresh import let_hops_through
from ganglion.serving.triton.metrics import TritonSink


class TritonPythonModel:
    """What the python backend calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle that the configuration's parameters name, and run it once."""
        parameters = json.loads(args["model_config"])["parameters"]
        given = {name: value["string_value"] for name, value in parameters.items()}
        self._closing = ExitStack()
        self._closing.enter_context(log_events(Path(given["log_json"]) if "log_json" in given else None))
        let_hops_through()
        self._engine = PolicyEngine.open(
            open_bundle(Path(given["bundle"])),
            hold_after_ms=float(given["hold_after_ms"]),
            vl_runner=partial(encode, given.get("vl_encoder", "")),
            vl_workers=int(given["vl_workers"]),
        )
        self._robot = self._engine.robot
        self._sink = TritonSink(lambda: self._engine.ready, args["model_instance_name"])
        self._host = PolicyHost(
            self._engine.session,
            slots=int(given["slots"]),
            idle_s=float(given["idle_s"]),
            observer=HostObserver(self._sink),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each message."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """End every session."""
        self._host.close()
        self._sink.close()
        self._engine.close()
        self._closing.close()

    def _answer(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        flags = request.flags()
        start = bool(flags & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START)
        end = bool(flags & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END)
        robot = request.correlation_id()
        try:
            reply = self._host.handle(robot, self._read(robot, tensors), start=start, end=end)
            answer = reply_tensors(reply, self._robot.actions.dim)
        except GanglionError as error:
            return triton.InferenceResponse(error=triton.TritonError(error_text(error)))
        except Exception as error:  # of this robot's message: the others are served on
            return triton.InferenceResponse(error=triton.TritonError(f"internal: {error!r:.300}"))
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in answer.items()])

    def _read(self, robot: int, tensors: Mapping[str, npt.NDArray[Any]]) -> PolicyRequest:
        try:
            asked = read_request(tensors)
            check_length(asked.hop, self._robot)
            return asked
        except Exception as error:
            self._host.unreadable(robot, error)
            raise


def encode(model: str, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """The cameras' graph, run by the model of that name.

    Raises:
        GanglionError: it could not be.
    """
    request = triton.InferenceRequest(
        model_name=model,
        requested_output_names=["vl_features"],
        inputs=[triton.Tensor(name, np.ascontiguousarray(value)) for name, value in feeds.items()],
    )
    response = request.exec()
    if response.has_error():
        raise GanglionError(response.error().message(), where="VL encoder")
    features: npt.NDArray[np.float32] = triton.get_output_tensor_by_name(response, "vl_features").as_numpy()
    return features
