"""What stands for Triton's onnxruntime backend where a server comes without it: a python-based backend.

It obeys the same config.pbtxt as far as that concerns what is computed: tensors, batching, threads. It runs on the CPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import triton_python_backend_utils as triton  # the python backend's own

Feeds = dict[str, npt.NDArray[Any]]


class TritonPythonModel:
    """What the python backend calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the graph."""
        config = json.loads(args["model_config"])
        threads = {name: int(value["string_value"]) for name, value in config["parameters"].items()}
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads.get("intra_op_thread_count", 1)
        options.inter_op_num_threads = threads.get("inter_op_thread_count", 1)
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]
        self._batched = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer what the server has put together: in one run where all shapes agree."""
        feeds = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        answers: list[Any] = [None] * len(feeds)
        for group in self._groups(feeds):
            for index, answer in zip(group, self._run([feeds[index] for index in group]), strict=True):
                answers[index] = answer
        return answers

    def _groups(self, feeds: list[Feeds]) -> list[list[int]]:
        groups: dict[object, list[int]] = {}
        for index, feed in enumerate(feeds):
            shapes = tuple(sorted((name, value.shape[1:]) for name, value in feed.items()))
            groups.setdefault(shapes if self._batched else index, []).append(index)
        return [*groups.values()]

    def _run(self, feeds: list[Feeds]) -> list[Any]:
        together = (
            {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs} if feeds[1:] else feeds[0]
        )
        try:
            found = self._session.run(self._outputs, together)
        except Exception as error:  # one that ONNX Runtime refuses must not end the server's other requests
            message = " ".join(str(error).split())[:300]
            return [triton.InferenceResponse(error=triton.TritonError(message)) for _ in feeds]
        ends = np.cumsum([len(feed[self._inputs[0]]) for feed in feeds])[:-1]
        split = [np.split(value, ends) if feeds[1:] else [value] for value in found]
        return [self._response([parts[row] for parts in split]) for row in range(len(feeds))]

    def _response(self, values: list[npt.NDArray[Any]]) -> Any:
        named = zip(self._outputs, values, strict=True)
        return triton.InferenceResponse([triton.Tensor(name, np.ascontiguousarray(value)) for name, value in named])
