"""The backend "in-process" of `ganglion serve vlm`: ONNX Runtime, here, behind OpenAI's API."""

from __future__ import annotations

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import InputError
from ganglion.serving.command.vlm_config import VlmServeConfig
from ganglion.serving.openai.serve import serve as serve_openai
from ganglion.serving.vlm.limits import ServingLimits


def serve(config: VlmServeConfig) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code.

    Raises:
        InputError: an option is wrong, or the port is taken.
        BundleError: the bundle holds no VLM that can be served here.
    """
    if len(config.bundles) != 1:
        raise InputError(f"in-process serves one bundle, {len(config.bundles)} are named", remedy="start one for each")
    options = config.local
    if options.threads < 1:
        raise InputError(f"--local.threads is {options.threads}", remedy="give at least 1")
    limits = ServingLimits(
        options.running,
        options.waiting,
        None if options.kv_mb is None else round(options.kv_mb * 1e6),
        options.join_quantized,
    )
    return serve_openai(
        open_bundle(config.bundles[0]),
        config.bind,
        config.port,
        threads=options.threads,
        limits=limits,
        log_json=options.log_json,
    )
