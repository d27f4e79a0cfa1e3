"""Ganglion's own stand-in for the onnxruntime backend, made slow: each run takes at least so long, as a large model's
would, and meanwhile requests gather into a batch.
"""

import os
import sys
import time

sys.path += os.environ["GANGLION_PATH"].split(os.pathsep)
from ganglion.serving.triton.onnx_backend import TritonPythonModel as Backend

PAUSE_S = 0.05


class TritonPythonModel(Backend):
    def execute(self, requests):
        time.sleep(PAUSE_S)
        return super().execute(requests)
