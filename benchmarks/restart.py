"""A policy server is killed under load and started again: how long until each robot is served, and as what?

    python benchmarks/restart.py [--robots 4] [--times 3] [--bundle my/bundle]

Robots send at their own pace (50 Hz). Triton is ended by SIGKILL, the command around it ends, and is started anew; it
is ready when it says so. For each robot: seconds from then to the first reply of the server's (below 0 where that came
before the command had said so), and whether that reply says "gap" and nothing of warming, since the session has been
primed from the window that the robot kept. All chunks are held to a session in this process (checked_robot.py).
Bound: 2 s. Writes runs/benchmarks/restart.json (--out); exit status 1 where it is not kept.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from checked_robot import Stream, Verdict, check, drive, flags_of, read_records
from policy_server import PolicyServer, add_server_options, server_options
from random_policy import random_bundle
from report import machine, make_parser, write_report

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.errors import GanglionError
from ganglion.robot_bridge.triton_client import TritonPolicyClient
from ganglion.serving.policy.engine import PolicyEngine

BOUND_S = 2.0
HOLD_AFTER_MS = 5_000.0
SERVED_S = 4.0  # before a kill and after a start: four windows
APART = 10**6  # hops from robot to robot
_OWN = {"late", "refused", "unreachable"}


def main() -> int:
    parser = make_parser(__doc__, "restart")
    parser.add_argument("--bundle", type=Path, help="with a policy and its Triton models; default: random weights")
    parser.add_argument("--robots", type=int, default=4)
    parser.add_argument("--times", type=int, default=3)
    add_server_options(parser)
    options = parser.parse_args()
    if options.robots < 1 or options.times < 1:
        parser.error("--robots and --times must be 1 or more")
    hardware = machine("onnxruntime", "tritonclient")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            bundle = open_bundle(options.bundle or random_bundle(folder, size="tiny"))
            found, verdict = restarts(bundle, folder, options)
        except GanglionError as error:
            parser.error(str(error))
    for row in found:
        served = "never served" if row["seconds"] is None else f"served {row['seconds']:6.3f} s after ready"
        print(f"restart {row['restart']} robot {row['robot']}  {served}  flags {' '.join(row['flags']) or '-'}")
    counts = verdict.counts
    print(
        f"{counts['compared']} chunks compared, largest difference {verdict.largest:.1e}, {counts['wrong']} wrong "
        f"{verdict.examples or ''}"
    )
    kept = not counts["wrong"] and all(row["kept"] for row in found)
    print(f"within {BOUND_S:g} s, with the gap flagged and primed: {'kept' if kept else 'BROKEN'}")
    facts = {"restarts": found, "counts": dict(counts), "largest": verdict.largest, "bound_s": BOUND_S, "kept": kept}
    write_report(options.out, {"hardware": hardware, **facts})
    return 0 if kept else 1


def restarts(bundle: Bundle, folder: Path, options: argparse.Namespace) -> tuple[list[dict[str, Any]], Verdict]:
    """What each robot saw of each restart, and the check of all that they were answered."""
    assert bundle.robot is not None
    streams = [Stream(bundle.robot, number * (APART + 53)) for number in range(options.robots)]
    records = [folder / f"{stream.start}.replies" for stream in streams]
    stop, moments = threading.Event(), list[tuple[int, int]]()
    serving = ["--slots", str(options.robots), "--hold_after_ms", str(HOLD_AFTER_MS), *server_options(options)]
    with PolicyServer(bundle.root, folder, *serving) as server:
        threads = [
            threading.Thread(target=send, args=(server.address, stream, path, stop))
            for stream, path in zip(streams, records, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(options.times):
                time.sleep(SERVED_S)
                killed_ns = time.monotonic_ns()
                server.kill()
                server.start()
                moments.append((killed_ns, time.monotonic_ns()))
            time.sleep(SERVED_S)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    verdict, found = Verdict(), list[dict[str, Any]]()
    with PolicyEngine.open(bundle, hold_after_ms=HOLD_AFTER_MS) as engine:
        for number, (stream, path) in enumerate(zip(streams, records, strict=True)):
            rows = read_records(path, bundle.robot)
            verdict.add(check(engine, stream, rows))
            for restart, (killed_ns, ready_ns) in enumerate(moments):
                found.append({"restart": restart, "robot": number, **first_served(rows, killed_ns, ready_ns)})
    return sorted(found, key=lambda row: (row["restart"], row["robot"])), verdict


def send(address: str, stream: Stream, path: Path, stop: threading.Event) -> None:
    """One robot, until it is told to stop."""
    with path.open("wb") as file, TritonPolicyClient(address, stream.robot) as client:
        drive(client, stream, APART, file.write, paced=True, stop=stop)


def first_served(rows: Any, killed_ns: int, ready_ns: int) -> dict[str, Any]:
    """The first reply of a server's to a hop that was sent after the old one had been missed."""
    gone = False
    for row in rows[rows["sent_ns"] >= killed_ns]:
        flags = flags_of(row)
        gone = gone or bool(flags & _OWN)
        if gone and not flags & _OWN:
            seconds = (int(row["sent_ns"]) + row["trip_ms"] * 1e6 - ready_ns) / 1e9
            kept = bool(seconds <= BOUND_S) and "gap" in flags and "warming" not in flags
            return {"seconds": float(seconds), "flags": sorted(flags), "kept": kept}
    return {"seconds": None, "flags": [], "kept": False}


if __name__ == "__main__":
    raise SystemExit(main())
