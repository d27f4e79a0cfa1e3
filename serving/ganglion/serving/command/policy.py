"""`ganglion serve policy`: a bundle's policy, hosted until a signal ends it."""

from __future__ import annotations

import os

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import InputError
from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.triton.launch import LOCAL
from ganglion.serving.triton.pulse import Pulse, read_metrics
from ganglion.serving.triton.repository import PolicyHosting, write_repository
from ganglion.serving.triton.run import TritonPorts, run_triton

_BACKENDS = ("triton",)


def run(config: PolicyServeConfig) -> int:
    """Serve; returns the exit code.

    Raises:
        InputError: an option is wrong.
        BundleError: the bundle holds no policy that can be served so.
        GanglionError: the server did not come up, or ended by itself.
    """
    ports = TritonPorts(
        config.grpc_port, config.http_port, config.metrics_port, ("--grpc_port", "--http_port", "--metrics_port")
    )
    _check(config)
    ports.check(config.bind)
    bundle = open_bundle(config.bundle)
    hosting = PolicyHosting(
        slots=config.slots,
        instances=config.instances,
        idle_s=config.idle_s,
        hold_after_ms=config.hold_after_ms,
        vl_workers=config.vl_workers,
        vl_threads=config.vl_threads or max(1, len(os.sched_getaffinity(0)) // 2),
        log_json=config.log_json,
    )
    return run_triton(
        lambda folder: write_repository(bundle, folder, hosting),
        config.bind,
        ports,
        named=config.tritonserver,
        log=config.log,
        greeting=_endpoints(config),
        asked_by_http=False,
        problem=Pulse(lambda: read_metrics(config.metrics_port)).problem,
    )


def _check(config: PolicyServeConfig) -> None:
    if config.backend not in _BACKENDS:
        raise InputError(f"--backend is {config.backend!r}", remedy=f"use one of {[*_BACKENDS]}")
    config.bind.check()
    for name in ("slots", "instances", "vl_workers", "vl_threads"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise InputError(f"--{name} is {value}", remedy="give at least 1")
    for name in ("idle_s", "hold_after_ms"):
        if not getattr(config, name) > 0:
            raise InputError(f"--{name} is {getattr(config, name)}", remedy="give a positive number")


def _endpoints(config: PolicyServeConfig) -> list[str]:
    robots = config.slots * config.instances
    host = f"[{config.bind.host}]" if ":" in config.bind.host else config.bind.host
    return [
        f"policy   grpc://{host}:{config.grpc_port}   for at most {robots} robots",
        f"health   http://{LOCAL}:{config.http_port}/v2/health/ready",
        f"metrics  http://{LOCAL}:{config.metrics_port}/metrics",
        f"try      curl -s http://{LOCAL}:{config.http_port}/v2/models/policy",
    ]
