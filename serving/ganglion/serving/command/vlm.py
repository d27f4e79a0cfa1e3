"""ganglion serve vlm BUNDLE: hand a bundle's VLM to the backend that was named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ganglion.core.bundle import read_manifest
from ganglion.core.errors import InputError
from ganglion.serving.command.vlm_config import VlmServeConfig

# Each takes the config and serves until a signal; imported only to run.
BACKENDS = {
    "in-process": "ganglion.serving.command.vlm_in_process:serve",
    "triton": "ganglion.serving.command.vlm_triton:serve",
    "vllm": "ganglion.serving.vllm.launch:serve",
}


def run(config: VlmServeConfig) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code.

    Raises:
        InputError: the backend is unknown, or the server may not listen like this.
        BundleError: there is no bundle.
    """
    if not 0 < config.port < 65536:
        raise InputError(f"--port is {config.port}", remedy="give one from 1 to 65535")
    config.bind.check()
    backend = config.backend or _backend_of(config.bundles[0])
    if backend not in BACKENDS:
        raise InputError(f"--backend is {backend!r}", remedy=f"use one of {list(BACKENDS)}")
    module, _, name = BACKENDS[backend].partition(":")
    serve: Callable[[VlmServeConfig], int] = getattr(importlib.import_module(module), name)
    return serve(config)


def _backend_of(bundle: Path) -> str:
    part = read_manifest(bundle).vlm
    return "in-process" if part is None or part.form == "onnx" else "vllm"
