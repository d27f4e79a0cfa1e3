"""Options of the ONNX engine, which the backends "in-process" and "triton" of `ganglion serve vlm` both run."""

from __future__ import annotations

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.errors import InputError
from ganglion.serving.command.vlm_config import LocalOptions, VlmServeConfig
from ganglion.serving.vlm.limits import ServingLimits


def one_bundle(config: VlmServeConfig, backend: str) -> Bundle:
    """The bundle to serve, verified.

    Raises:
        InputError: several are named.
        BundleError: it is none.
    """
    if len(config.bundles) != 1:
        raise InputError(f"{backend} serves one bundle, {len(config.bundles)} are named", remedy="start one for each")
    return open_bundle(config.bundles[0])


def serving_limits(options: LocalOptions) -> ServingLimits:
    """How many answers are written at once, and in how much memory.

    Raises:
        InputError: an option is wrong.
    """
    if options.threads < 1:
        raise InputError(f"--local.threads is {options.threads}", remedy="give at least 1")
    kv_bytes = None if options.kv_mb is None else round(options.kv_mb * 1e6)
    return ServingLimits(options.running, options.waiting, kv_bytes, options.join_quantized)
