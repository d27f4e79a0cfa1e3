"""The options of `ganglion serve policy`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ganglion.serving.binding import Binding


@dataclass(frozen=True)
class PolicyServeConfig:
    """Host a bundle's policy for robots.

    Args:
        bundle: what `ganglion export --policy --target triton` wrote.
        backend: what hosts it: triton; or in-process, here, for robots of this machine.
        slots: robots that one instance serves at once; a further one is refused.
        instances: processes that hold the policy, of triton; more than cores are of no use.
        idle_s: a robot that is silent for so long loses its session.
        hold_after_ms: age of camera features beyond which replies are not ready.
        vl_workers: robots of an instance whose frames are encoded at once.
        vl_threads: CPU threads of one such encoding; default is half of the cores, so that no hop waits for one.
        socket: of in-process, for robots; default is ganglion-policy.sock in the user's runtime folder.
        grpc_port: of triton, for robots.
        http_port: of triton, for health checks and other clients of this machine.
        metrics_port: for Prometheus; of in-process for health checks, too.
        tritonserver: Triton's program, or the folder of an environment with it; default is that on PATH, else one that
            is installed into the cache once.
        log: file that takes Triton's log.
        log_json: file that takes events, as lines of JSON; default is the log, or stderr.
        bind: where it listens, and what guards it.
    """

    bundle: Path
    backend: str = "triton"
    slots: int = 8
    instances: int = 1
    idle_s: float = 5.0
    hold_after_ms: float = 1000.0
    vl_workers: int = 4
    vl_threads: int | None = None
    socket: Path | None = None
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    tritonserver: Path | None = None
    log: Path = Path("runs/serve/triton.log")
    log_json: Path | None = None
    bind: Binding = field(default_factory=Binding)
