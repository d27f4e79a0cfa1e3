"""From a hop to its action chunk, over each way to a policy: side by side, the same model, payloads and machine.

    OMP_NUM_THREADS=1 python benchmarks/serving.py [--robots 1 4 16] [--seconds 10] [--rounds 3]

    in-process      PolicySession
    local           hops to `ganglion serve policy --backend in-process`, by a memory that is shared
    triton          hops on a gRPC stream to `ganglion serve policy`
    triton-windows  the same server, sent the whole window each time
    openpi          openpi's client and a minimal server of its protocol, sent the whole window each time

Robots send at their own pace (50 Hz), in a process beside the server; contenders take turns in each round, so a busy
machine slows all of them. Times are medians of the rounds' percentiles. "over the model" is the round trip less what
the server says that the model took. CPU is the server's, of one core, per robot. The policy is the default robot's
without cameras, `small`, with random weights: its speed is that of a trained one. The last two run in an environment of
their own (--openpi), made once, since openpi-client wants numpy below 2. Writes runs/benchmarks/serving.json (--out).
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hop_to_action import random_bundle
from report import machine, make_parser, write_report
from serving_robots import socket_of

from ganglion.core.specs import default_robot

HERE = Path(__file__).parent
ROOT = HERE.parent
CONTENDERS = ("in-process", "local", "triton", "triton-windows", "openpi")
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = make_parser(__doc__, "serving")
    parser.add_argument("--robots", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--openpi", type=Path, default=Path("runs/benchmarks/openpi-env"), help="its environment")
    options = parser.parse_args()
    hardware = machine("onnxruntime", "tritonclient")
    if "openpi" in options.only:
        make_openpi(options.openpi)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = random_bundle(Path(folder), replace(default_robot(), cameras=()))
        for robots in options.robots:
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
            for _ in range(options.rounds):
                for name in options.only:
                    runs[name].append(measure(name, bundle, robots, options.seconds, options.openpi))
            for name, rounds in runs.items():
                found.setdefault(name, {})[str(robots)] = row = middle(rounds)
                print(line(name, robots, row), flush=True)
    write_report(options.out, {"hardware": hardware, "seconds": options.seconds, "contenders": found})


def measure(name: str, bundle: Path, robots: int, seconds: float, openpi: Path) -> dict[str, Any]:
    """One contender, once."""
    python = str(openpi / "bin" / "python") if name == "openpi" else sys.executable
    command = [python, str(HERE / "serving_robots.py"), name, str(bundle)]
    command += ["--robots", str(robots), "--seconds", str(seconds)]
    with server(name, bundle, robots, openpi) as (port, pids):
        before = cpu_seconds(pids)
        done = subprocess.run(
            [*command, "--port", str(port)], env=environment(), check=True, stdout=subprocess.PIPE, text=True
        )
        used = cpu_seconds(pids) - before
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**row, "server_cpu_share": used / seconds / robots if pids else row["client_cpu_share"]}


@contextmanager
def server(
    name: str, bundle: Path, robots: int, openpi: Path = Path(), options: Sequence[str] = ()
) -> Iterator[tuple[int, list[int]]]:
    """What the contender talks to: its port, and the processes that serve."""
    if name == "in-process":
        yield 0, []
        return
    port, http, metrics = free_port(), free_port(), free_port()
    serve = [
        sys.executable,
        "-m",
        "ganglion.core.cli",
        "serve",
        "policy",
        str(bundle),
        "--slots",
        str(robots),
        *options,
    ]
    if name == "openpi":
        command = [str(openpi / "bin" / "python"), str(HERE / "openpi_server.py"), str(bundle), str(port)]
    elif name == "local":  # its port is that of its metrics, which it opens last
        command = [*serve, "--backend", "in-process", "--socket", str(socket_of(bundle)), "--metrics_port", str(port)]
        command += ["--log_json", str(bundle.parent / "events.jsonl")]
    else:
        command = [*serve, "--grpc_port", str(port), "--http_port", str(http), "--metrics_port", str(metrics)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield port, family(process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there: each of the servers has loaded its model by then."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(1.0)
                return
        time.sleep(0.1)
    raise SystemExit(f"the server ended with status {process.returncode}")


def environment() -> dict[str, str]:
    """Ganglion's source, for an interpreter in which it is not installed."""
    rooms = [str(ROOT / room) for room in ("core", "serving", "robot_bridge")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(rooms), "OMP_NUM_THREADS": "1"}


def make_openpi(folder: Path) -> None:
    """An environment with openpi's client and what serves a policy, once."""
    if (folder / ".ready").is_file():
        return
    venv.create(folder, with_pip=True, clear=True)
    same = [f"{name}=={version(name)}" for name in ("onnxruntime", "tokenizers", "jinja2", "pillow", "PyYAML")]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "openpi-client==0.1.2", "typing_extensions", "jsonschema", *same], check=True)
    (folder / ".ready").touch()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes, proc(5)."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / _TICKS


def middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, of each figure."""
    return {
        name: middle([one[name] for one in rounds]) if isinstance(value, dict) else statistics.median(
            one[name] for one in rounds
        )
        for name, value in rounds[0].items()
    }  # fmt: skip


def line(name: str, robots: int, row: dict[str, Any]) -> str:
    trip, over = row["round_trip_ms"], row["over_model_ms"]
    return (
        f"{name:<15} {robots:>2} robots  hop to chunk p50 {trip['p50']:7.3f} p99 {trip['p99']:8.3f} ms  "
        f"over the model p50 {over['p50']:6.3f} ms  {row['bytes_per_second'] / 1e6:6.2f} MB/s  "
        f"server's CPU {100 * row['server_cpu_share']:5.1f} % per robot"
    )


if __name__ == "__main__":
    main()
