"""`ganglion serve policy`: a bundle's policy, hosted until a signal ends it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import InputError
from ganglion.serving.binding import check_port
from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.triton.install import find_triton
from ganglion.serving.triton.launch import (
    LOCAL,
    explain_failure,
    is_ready,
    shared_name,
    triton_command,
    triton_process,
)
from ganglion.serving.triton.pulse import Pulse, read_metrics
from ganglion.serving.triton.repository import PolicyHosting, write_repository

_BACKENDS = ("triton",)


def run(config: PolicyServeConfig) -> int:
    """Serve; returns the exit code.

    Raises:
        InputError: an option is wrong.
        BundleError: the bundle holds no policy that can be served so.
        GanglionError: the server did not come up, or ended by itself.
    """
    _check(config)
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
    with tempfile.TemporaryDirectory(prefix="ganglion-models-") as folder:
        models = write_repository(bundle, Path(folder), hosting)
        install = find_triton(config.tritonserver)
        ports = {"grpc_port": config.grpc_port, "http_port": config.http_port, "metrics_port": config.metrics_port}
        shared = shared_name()
        command = triton_command(install, Path(folder), models, config.bind, **ports, shared=shared)
        with triton_process(install, command, config.log, shared) as server:
            server.wait_until_ready(lambda: is_ready(config.http_port), explain_failure)
            print(_endpoints(config), flush=True)
            pulse = Pulse(lambda: read_metrics(config.metrics_port))
            return server.run_until_signal(explain_failure, problem=pulse.problem)


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
    ports = [config.grpc_port, config.http_port, config.metrics_port]
    if len({*ports}) < len(ports) or not all(0 < port < 65536 for port in ports):
        raise InputError(f"ports are {ports}", remedy="give three different ones from 1 to 65535")
    check_port(config.bind.host, config.grpc_port, "--grpc_port")
    for name in ("http_port", "metrics_port"):
        check_port(LOCAL, getattr(config, name), f"--{name}")


def _endpoints(config: PolicyServeConfig) -> str:
    robots = config.slots * config.instances
    host = f"[{config.bind.host}]" if ":" in config.bind.host else config.bind.host
    return "\n".join(
        [
            f"policy   grpc://{host}:{config.grpc_port}   for at most {robots} robots",
            f"health   http://{LOCAL}:{config.http_port}/v2/health/ready",
            f"metrics  http://{LOCAL}:{config.metrics_port}/metrics",
            f"try      curl -s http://{LOCAL}:{config.http_port}/v2/models/policy",
        ]
    )
