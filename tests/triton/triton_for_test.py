"""A real Triton server as a process of its own, asked over HTTP (KServe v2 with binary data)."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np

from ganglion.serving.triton.install import from_environment

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("GANGLION_TRITON_VENV") or ROOT / ".venv-triton")
TYPES = {"float32": "FP32", "int64": "INT64"}


class Server:
    """Serves a model repository until `stop`.

    Args:
        repository: the folder of models.
        folder: for its backends and its log.
        options: further ones of tritonserver.
    """

    def __init__(self, repository, folder, *options):
        self.log = folder / "log.txt"
        self.prefix = f"ganglion_{os.getpid()}_{folder.name}"
        self.port = free_port()
        install = from_environment(VENV)
        command = [
            install.binary,
            f"--model-repository={repository}",
            f"--backend-directory={backends(install, folder / 'backends')}",
            f"--backend-config=python,shm-region-prefix-name={self.prefix}",
            *install.options,
            "--http-address=127.0.0.1",
            f"--http-port={self.port}",
            "--allow-grpc=false",
            "--allow-metrics=false",
            "--log-verbose=1",
            *options,
        ]
        environment = {**os.environ, **install.environment}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait_until_ready(self):
        """Wait until every model is; fails with the log where the server gave up."""
        while True:
            if self.process.poll() is not None:
                raise AssertionError("\n".join(self.log.read_text().splitlines()[-60:]))
            try:
                if self.request("GET", "/v2/health/ready")[0] == 200:
                    return
            except ConnectionError:
                pass
            time.sleep(0.1)

    def stop(self):
        """End it as a service manager would; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def shared_memory(self):
        return [name for name in os.listdir("/dev/shm") if self.prefix in name]

    def get(self, path):
        """What a GET or an empty POST of the path answers, from JSON."""
        status, body, _ = self.request("POST" if path.startswith("/v2/repository") else "GET", path)
        assert status == 200, body
        return json.loads(body)

    def infer(self, model, feeds):
        """Outputs by name, for inputs by name."""
        buffers = [np.ascontiguousarray(value).tobytes() for value in feeds.values()]
        head = {
            "inputs": [
                {
                    "name": name,
                    "shape": list(value.shape),
                    "datatype": TYPES[value.dtype.name],
                    "parameters": {"binary_data_size": value.nbytes},
                }
                for name, value in feeds.items()
            ],
            "parameters": {"binary_data_output": True},
        }
        text = json.dumps(head).encode()
        length = {"Inference-Header-Content-Length": str(len(text))}
        status, body, headers = self.request("POST", f"/v2/models/{model}/infer", text + b"".join(buffers), length)
        if status != 200:
            raise ValueError(json.loads(body)["error"])
        at = int(headers["Inference-Header-Content-Length"])
        found = {}
        for output in json.loads(body[:at])["outputs"]:
            size = output["parameters"]["binary_data_size"]
            kind = {short: name for name, short in TYPES.items()}[output["datatype"]]
            found[output["name"]] = np.frombuffer(body[at : at + size], kind).reshape(output["shape"])
            at += size
        return found

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def backends(install, folder):
    """A backend directory: the server's python backend, and a slow one that stands for onnxruntime."""
    shutil.copytree(install.backends / "python", folder / "python")
    shutil.copytree(Path(__file__).parent / "backend", folder / "onnxruntime")
    return folder
