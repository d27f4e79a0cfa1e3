"""A Triton server around a model repository: its command, and when it is ready."""

from __future__ import annotations

import http.client
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ganglion.serving.binding import LOCAL, Binding
from ganglion.serving.server_process import ServerProcess
from ganglion.serving.triton.install import TritonInstall

# Triton 2.51 takes a model's process for dead that has not run for a second, and frees what that still uses.
_CRASHED = (
    "it crashed, as it does where a model's process has not run for a second (the machine slept, or had no core for "
    "it); have a service manager start it again"
)
# What stands in Triton's log -> what to do about it.
_FAILURES = {
    "failed to create the shared memory": "shared memory is full: see what lies in /dev/shm, or give Docker --shm-size",
    "ModuleNotFoundError": "its environment is not whole: python -m ganglion.serving.triton.install FOLDER",
    "No space left on device": "the disk or /dev/shm is full",
    "Signal (6) received": _CRASHED,
    "Signal (11) received": _CRASHED,
}
_GRPC_AUTHORIZATION = "inference,health,metadata:authorization="
# With these a stranger could unload the models, map a stub's shared memory, or have Triton write a file of his choice.
_OPERATING = "model-repository,shared-memory,trace,logging"
_LOOKING = "model-config,statistics"  # these say where the bundle lies and what its models are called


def triton_command(
    install: TritonInstall,
    repository: Path,
    models: Sequence[str],
    binding: Binding,
    *,
    grpc_port: int,
    http_port: int,
    metrics_port: int,
    shared: str,
    http_key: tuple[str, str] | None = None,
) -> list[str]:
    """The command line; `shared` is how the names of its shared memory begin.

    `http_key` is a header, name and value, with which models may be asked over HTTP; None: they may not. Triton 2.51
    dies of some questions, see `ganglion.serving.triton.relay`.

    What operates a server rather than asks it is closed to everybody, by a key that is told to nobody.
    HTTP has neither TLS nor token in Triton: wherever robots are served, HTTP and metrics are for this machine alone.
    """
    nobodys = secrets.token_hex(16)
    asking = "=".join(http_key) if http_key else f"operator={nobodys}"
    options = [
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        *((f"--backend-directory={install.backends}",) if install.backends else ()),
        *install.options,
        f"--backend-config=python,shm-region-prefix-name={shared}",
        f"--grpc-address={f'[{binding.host}]' if ':' in binding.host else binding.host}",
        f"--grpc-port={grpc_port}",
        f"--http-address={LOCAL}",
        f"--http-port={http_port}",
        f"--metrics-address={LOCAL}",
        f"--metrics-port={metrics_port}",
        f"--grpc-restricted-protocol={_OPERATING},{_LOOKING}:operator={nobodys}",
        f"--http-restricted-api={_OPERATING}:operator={nobodys}",
        f"--http-restricted-api=inference:{asking}",
        "--strict-readiness=true",
        "--exit-timeout-secs=20",
    ]
    if binding.certificate:
        options += [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={binding.certificate}",
            f"--grpc-server-key={binding.key}",
        ]
    if token := binding.token:
        options.append(f"--grpc-restricted-protocol={_GRPC_AUTHORIZATION}{token}")
    return [str(install.binary), *options]


def shared_name() -> str:
    """A beginning of names in shared memory by which one server's are told from all others'."""
    return f"ganglion_{secrets.token_hex(4)}"


def triton_process(install: TritonInstall, command: Sequence[str], log: Path, shared: str) -> ServerProcess:
    """Triton, started; `shared` as its command has it.

    Raises:
        GanglionError: it can't be.
    """
    environment = {**os.environ, **install.environment, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return ServerProcess("Triton", command, environment, log, shared)


def is_ready(http_port: int) -> bool:
    """Every model is loaded.

    Raises:
        OSError: nothing listens there.
    """
    connection = http.client.HTTPConnection(LOCAL, http_port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def explain_failure(log: str) -> str | None:
    """What the end of Triton's log means, where that is known."""
    for line in log.splitlines():
        _, found, said = line.partition("BundleError: ")
        if found:
            return said.split("\\n")[0].removesuffix(";").strip()
    return next((meaning for text, meaning in _FAILURES.items() if text in log), None)


def has_finished(log: str) -> bool:
    """Told to end, Triton has answered all that it had taken; it waits for streams that clients keep open, though."""
    return "All models are stopped" in log
