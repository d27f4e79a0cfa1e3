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
    limits = serving_limits(config.local)
    bundle = one_bundle(config, "in-process")
    return serve_openai(bundle, config.bind, config.port, threads=config.local.threads, limits=limits)
