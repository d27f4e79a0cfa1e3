"""Run a Triton server on models that are written for it, until a signal."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.serving.binding import LOCAL, Binding, check_port
from ganglion.serving.triton.install import find_triton
from ganglion.serving.triton.launch import (
    explain_failure,
    has_finished,
    is_ready,
    shared_name,
    triton_command,
    triton_process,
)


@dataclass(frozen=True)
class TritonPorts:
    """Where a server listens: gRPC as it is bound, HTTP and metrics on this machine alone.

    options  what the command calls them, in this order
    """

    grpc: int
    http: int
    metrics: int
    options: tuple[str, str, str]

    def check(self, binding: Binding) -> None:
        """See that nobody listens there.

        Raises:
            InputError: somebody does, two are the same, or one is none.
        """
        ports = [self.grpc, self.http, self.metrics]
        if len({*ports}) < len(ports) or not all(0 < port < 65536 for port in ports):
            raise InputError(f"ports are {ports}", remedy="give three different ones from 1 to 65535")
        for host, port, option in zip((binding.host, LOCAL, LOCAL), ports, self.options, strict=True):
            check_port(host, port, option)


def run_triton(
    write: Callable[[Path], Sequence[str]],
    binding: Binding,
    ports: TritonPorts,
    *,
    named: Path | None,
    log: Path,
    greeting: Sequence[str],
    problem: Callable[[], str | None] = lambda: None,
    http_key: tuple[str, str] | None = None,
) -> int:
    """Start a server, say where it is, and end it at SIGINT or SIGTERM; returns the exit code.

    Args:
        write: writes a model repository into a folder; returns the models to load.
        binding: of gRPC.
        ports: that are free.
        named: the tritonserver to start, see `find_triton`.
        log: file that takes its log.
        greeting: lines to print once every model is loaded.
        problem: why a server that runs is of no use any more, see `ServerProcess.run_until_signal`.
        http_key: with which models may be asked over HTTP; see `triton_command`.

    Raises:
        GanglionError: there is no server, it did not come up, or it ended by itself.
    """
    with tempfile.TemporaryDirectory(prefix="ganglion-models-") as folder:
        models = write(Path(folder))
        install, shared = find_triton(named), shared_name()
        listen = {"grpc_port": ports.grpc, "http_port": ports.http, "metrics_port": ports.metrics}
        command = triton_command(install, Path(folder), models, binding, **listen, shared=shared, http_key=http_key)
        with triton_process(install, command, log, shared) as server:
            server.wait_until_ready(lambda: is_ready(ports.http), explain_failure)
            print("\n".join(greeting), flush=True)
            return server.run_until_signal(explain_failure, problem, has_finished)
