"""The backend "in-process" of `ganglion serve vlm`: ONNX Runtime, here, behind OpenAI's API."""

from __future__ import annotations

from ganglion.serving.command.vlm_config import VlmServeConfig
from ganglion.serving.command.vlm_onnx import one_bundle, serving_limits
from ganglion.serving.openai.serve import serve as serve_openai


def serve(config: VlmServeConfig) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code.

    Raises:
        InputError: an option is wrong, or the port is taken.
        BundleError: the bundle holds no VLM that can be served here.
    """
    options, bundle = config.local, one_bundle(config, "in-process")
    limits = serving_limits(options)
    return serve_openai(
        bundle, config.bind, config.port, threads=options.threads, limits=limits, log_json=options.log_json
    )
