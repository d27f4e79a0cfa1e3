"""The backend "triton" of `ganglion serve policy`: a Triton server, found or installed."""

from __future__ import annotations

from ganglion.core.bundle import open_bundle
from ganglion.serving.binding import LOCAL
from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.triton.pulse import Pulse, read_metrics
from ganglion.serving.triton.repository import PolicyHosting, write_repository
from ganglion.serving.triton.run import TritonPorts, run_triton


def serve(config: PolicyServeConfig, vl_threads: int) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
        InputError: a port is wrong or taken.
        BundleError: the bundle holds no policy that can be served so.
        GanglionError: the server did not come up, or ended by itself.
    """
    ports = TritonPorts(
        config.grpc_port, config.http_port, config.metrics_port, ("--grpc_port", "--http_port", "--metrics_port")
    )
    ports.check(config.bind)
    bundle = open_bundle(config.bundle)
    hosting = PolicyHosting(
        slots=config.slots,
        instances=config.instances,
        idle_s=config.idle_s,
        hold_after_ms=config.hold_after_ms,
        vl_workers=config.vl_workers,
        vl_threads=vl_threads,
        log_json=config.log_json,
    )
    return run_triton(
        lambda folder: write_repository(bundle, folder, hosting),
        config.bind,
        ports,
        named=config.tritonserver,
        log=config.log,
        greeting=_endpoints(config),
        problem=Pulse(lambda: read_metrics(config.metrics_port)).problem,
    )


def _endpoints(config: PolicyServeConfig) -> list[str]:
    robots = config.slots * config.instances
    host = f"[{config.bind.host}]" if ":" in config.bind.host else config.bind.host
    return [
        f"policy   grpc://{host}:{config.grpc_port}   for at most {robots} robots",
        f"health   http://{LOCAL}:{config.http_port}/v2/health/ready",
        f"metrics  http://{LOCAL}:{config.metrics_port}/metrics",
        f"try      curl -s http://{LOCAL}:{config.http_port}/v2/models/policy",
    ]
