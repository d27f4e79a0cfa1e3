"""`ganglion serve policy`: a bundle's policy, hosted until a signal ends it."""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, fields
from typing import Any

from ganglion.core.errors import InputError
from ganglion.serving.command import policy_in_process, policy_triton
from ganglion.serving.command.policy_config import PolicyServeConfig

_BACKENDS = {"in-process": policy_in_process.serve, "triton": policy_triton.serve}
_FOREIGN = {  # options that mean nothing there
    "in-process": ("instances", "grpc_port", "http_port", "tritonserver", "log", "bind"),
    "triton": ("socket",),
}


def run(config: PolicyServeConfig) -> int:
    """Serve; returns the exit code.

    Raises:
        InputError: an option is wrong.
        BundleError: the bundle holds no policy that can be served so.
        GanglionError: the server did not come up, or ended by itself.
    """
    _check(config)
    return _BACKENDS[config.backend](config, config.vl_threads or max(1, len(os.sched_getaffinity(0)) // 2))


def _check(config: PolicyServeConfig) -> None:
    if config.backend not in _BACKENDS:
        raise InputError(f"--backend is {config.backend!r}", remedy=f"use one of {[*_BACKENDS]}")
    for field in fields(config):
        if field.name in _FOREIGN[config.backend] and getattr(config, field.name) != _default(field):
            raise InputError(f"--{field.name} is none of --backend {config.backend}", remedy="leave it out")
    config.bind.check()
    for name in ("slots", "instances", "vl_workers", "vl_threads"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise InputError(f"--{name} is {value}", remedy="give at least 1")
    for name in ("idle_s", "hold_after_ms"):
        if not getattr(config, name) > 0:
            raise InputError(f"--{name} is {getattr(config, name)}", remedy="give a positive number")


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
