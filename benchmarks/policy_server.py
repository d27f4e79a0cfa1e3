"""`ganglion serve policy` as benchmarks start it: its ports and processes, its memory, its end, and what it leaves."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from serving import environment, family, free_port

_SHARED_MEMORY = Path("/dev/shm")
_STOP_S = 60


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The option that says which Triton is started."""
    given = os.environ.get("GANGLION_TRITON_VENV")
    parser.add_argument(
        "--tritonserver",
        type=Path,
        default=Path(given) if given else None,
        help="as of `ganglion serve policy` (default $GANGLION_TRITON_VENV)",
    )


def server_options(options: argparse.Namespace) -> list[str]:
    """What the command is told of it."""
    return ["--tritonserver", str(options.tritonserver)] if options.tritonserver else []


class PolicyServer:
    """The command in a process of its own, on ports that are free and that it keeps when it is started again.

    Args:
        bundle: what it serves.
        folder: takes its log.
        options: of the command, beside the ports.

    Raises:
        SystemExit: it did not come up; what it said is in the message.
    """

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        self._bundle, self._folder, self._options = bundle, folder, options
        self.grpc_port, self.http_port, self.metrics_port = free_port(), free_port(), free_port()
        self.start()

    def start(self) -> None:
        """Start it and wait until it serves."""
        command = [sys.executable, "-m", "ganglion.core.cli", "serve", "policy", str(self._bundle)]
        command += ["--grpc_port", str(self.grpc_port), "--http_port", str(self.http_port)]
        command += ["--metrics_port", str(self.metrics_port), "--log", str(self._folder / "triton.log")]
        self._process = subprocess.Popen(
            [*command, *self._options],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said.startswith("policy "):
            raise SystemExit(f"the server did not come up: {said}{self._process.stdout.read()}".strip())
        self._shared = self._shared_name()

    @property
    def address(self) -> str:
        """host:port of its gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def pids(self) -> list[int]:
        """Triton, and the processes of its models; nothing of the command around it."""
        return family(self._triton())

    @property
    def alive(self) -> bool:
        """Neither the command nor Triton has ended."""
        return self._process.poll() is None

    def memory_mb(self) -> float:
        """What the server's processes have written, in memory of their own or shared by them, which counts once.

        Proportional set size without pages of files (proc(5), smaps_rollup): those are the kernel's to keep, and count
        for less while another process reads the same file.
        """
        total_kb = 0
        for pid in self.pids:
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended since it was listed
            found = dict(re.findall(r"^(Pss_Anon|Pss_Shmem):\s+(\d+) kB", rollup, re.MULTILINE))
            total_kb += int(found["Pss_Anon"]) + int(found["Pss_Shmem"])
        return total_kb / 1024

    def shared_memory(self) -> list[Path]:
        """What it has in /dev/shm, or left there."""
        return [*_SHARED_MEMORY.glob(f"{self._shared}*")]

    def kill(self) -> None:
        """End Triton as `kill -9` does, and wait until the command around it has seen that."""
        os.kill(self._triton(), signal.SIGKILL)
        self._process.communicate(timeout=_STOP_S)

    def stop(self) -> int:
        """End it as a service manager does; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=_STOP_S)
        return self._process.returncode

    def __enter__(self) -> PolicyServer:
        """Give the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, if that has not been done."""
        if self.alive:
            self.stop()

    def _triton(self) -> int:
        for pid in family(self._process.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver":
                return pid
        raise SystemExit("the server has ended")

    def _shared_name(self) -> str:
        command = Path(f"/proc/{self._triton()}/cmdline").read_text()
        (name,) = re.findall(r"shm-region-prefix-name=(\w+)", command)
        return str(name)
