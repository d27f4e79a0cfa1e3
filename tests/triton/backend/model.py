"""In the place of Triton's C++ onnxruntime backend, which no wheel carries: a python-based backend that obeys the same
config.pbtxt, as far as tests look at it.
"""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

# Each run takes at least so long, as a large model's would: meanwhile requests gather into a batch.
PAUSE_S = 0.05


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor.name for tensor in self.session.get_inputs()]
        self.outputs = [tensor.name for tensor in self.session.get_outputs()]
        self.batched = config["max_batch_size"] > 0

    def execute(self, requests):
        time.sleep(PAUSE_S)
        feeds = [{name: self.read(request, name) for name in self.inputs} for request in requests]
        if not self.batched:
            return [self.response(self.session.run(self.outputs, feed)) for feed in feeds]
        rows = [len(feed[self.inputs[0]]) for feed in feeds]
        together = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        answers = [np.split(value, np.cumsum(rows)[:-1]) for value in self.session.run(self.outputs, together)]
        return [self.response(values) for values in zip(*answers, strict=True)]

    @staticmethod
    def read(request, name):
        return triton.get_input_tensor_by_name(request, name).as_numpy()

    def response(self, values):
        tensors = [
            triton.Tensor(name, np.ascontiguousarray(value)) for name, value in zip(self.outputs, values, strict=True)
        ]
        return triton.InferenceResponse(tensors)
