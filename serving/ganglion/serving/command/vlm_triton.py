"""The backend "triton" of `ganglion serve vlm`: the ONNX engine as a decoupled model of a Triton server."""

from __future__ import annotations

import json
import secrets
import shlex
from dataclasses import replace
from typing import Any

from ganglion.core.tasks import get_task, task_names
from ganglion.serving.binding import LOCAL, free_port
from ganglion.serving.command.vlm_config import VlmServeConfig
from ganglion.serving.command.vlm_onnx import one_bundle, serving_limits
from ganglion.serving.triton.relay import Relay
from ganglion.serving.triton.run import TritonPorts, run_triton
from ganglion.serving.triton.vlm_repository import MODEL, write_vlm_repository
from ganglion.serving.vlm.engine import onnx_part
from ganglion.serving.vlm_request.bounds import RequestBounds


def serve(config: VlmServeConfig) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code.

    Raises:
        InputError: an option is wrong, or a port is taken.
        BundleError: the bundle holds no VLM that can be served so.
        GanglionError: the server did not come up, or ended by itself.
    """
    limits, options = serving_limits(config.local), config.triton
    ports = TritonPorts(
        options.grpc_port,
        config.port,
        options.metrics_port,
        ("--triton.grpc_port", "--port", "--triton.metrics_port"),
    )
    ports.check(config.bind)
    bundle = one_bundle(config, "triton")
    tritons, key = replace(ports, http=free_port()), ("ganglion-relay", secrets.token_hex(16))
    with Relay(config.port, tritons.http, key, RequestBounds().body_bytes):
        return run_triton(
            lambda folder: write_vlm_repository(bundle, folder, limits, config.local.threads, config.local.log_json),
            config.bind,
            tritons,
            named=options.tritonserver,
            log=options.log,
            greeting=_endpoints(config, onnx_part(bundle).task),
            http_key=key,
        )


def _endpoints(config: VlmServeConfig, task: str | None) -> list[str]:
    host = f"[{config.bind.host}]" if ":" in config.bind.host else config.bind.host
    url = f"http://{LOCAL}:{config.port}/v2/models/{MODEL}"
    question: dict[str, Any] = {"text_input": "What lies ahead?"}
    if task in task_names() and get_task(task).schema is not None:
        question["schema"] = "task"
    streamed = shlex.quote(json.dumps({**question, "stream": True}))
    return [
        f"vlm      {url}/generate",
        f"stream   {url}/generate_stream",
        f"grpc     grpc://{host}:{config.triton.grpc_port}   streams of the model {MODEL}",
        f"health   http://{LOCAL}:{config.port}/v2/health/ready",
        f"metrics  http://{LOCAL}:{config.triton.metrics_port}/metrics",
        f"try      curl -s {url}/generate -d {shlex.quote(json.dumps(question))}",
        f"or       curl -sN {url}/generate_stream -d {streamed}",
    ]
