"""Robots at a served policy for a long time, joining, leaving and dying: nothing lost, nothing leaked, nothing wrong?

    python benchmarks/soak.py [--robots 16] [--minutes 20] [--bundle my/bundle]

Robots send at their own pace (50 Hz) with camera frames. Three quarters join and leave as they should; of these one in
eight waits only 1 ms for a reply, and goes on without. The others are in a process that is killed with SIGKILL while
their hops are on the way, and started again. Then each reply is held to a session in this process that is fed the same
(checked_robot.py), which takes about a third of the soak's time for a `tiny` policy. Verdicts, all of which must hold:

    answers     no chunk is off by more than 1e-5, no flag, stamp or readiness is another
    sessions    no robot that waited for its replies lost its session, or was refused; all hops were answered
    free        after the last robot has gone, and idle sessions have ended, as many robots are taken as at first
    memory      of the server's processes, from the end of the warm-up on, within 2 % of what it was then
    left        nothing in /dev/shm after the server has ended, which it did with status 0

Writes runs/benchmarks/soak.json (--out); exit status 1 where a verdict does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from checked_robot import Stream, Verdict, check, flags_of, read_records
from policy_server import PolicyServer, add_server_options, server_options
from random_policy import random_bundle
from report import machine, make_parser, write_report
from serving import environment
from tqdm import tqdm

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.errors import GanglionError
from ganglion.robot_bridge.triton_client import TritonPolicyClient
from ganglion.serving.policy.engine import PolicyEngine

HERE = Path(__file__).parent
HOLD_AFTER_MS = 5_000.0
IDLE_S = 5.0
SAMPLE_S = 2.0  # between looks at the memory
MOST_CREEP = 0.02
_GENERATION, _LAST = 10**9, 2 * 10**11  # first hops: stamps, of 20 ms each, stay below 2^62 ns


def main() -> int:
    parser = make_parser(__doc__, "soak")
    parser.add_argument("--bundle", type=Path, help="with a policy and its Triton models; default: random weights")
    parser.add_argument("--robots", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--warm_up", type=float, default=0.2, help="share of the time before memory is held to a bound")
    parser.add_argument("--life", nargs=2, type=float, default=[5.0, 60.0], help="seconds of a robot, from and to")
    parser.add_argument("--frame_every", type=int, default=50, help="hops from frame to frame (default 50)")
    add_server_options(parser)
    options = parser.parse_args()
    if options.robots < 4 or not options.minutes > 0 or not 0 <= options.warm_up < 1:
        parser.error("--robots must be 4 or more, --minutes above 0, --warm_up from 0 to below 1")
    if not 0 < options.life[0] <= options.life[1] or options.frame_every < 0:
        parser.error("--life must be two ascending numbers above 0, --frame_every 0 or more")
    hardware = machine("onnxruntime", "tritonclient")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            bundle = open_bundle(options.bundle or random_bundle(folder, size="tiny"))
            found = soak(bundle, folder, options)
        except GanglionError as error:
            parser.error(str(error))
    verdicts = judge(found)
    for name, (kept, said) in verdicts.items():
        print(f"{name:<9} {'kept  ' if kept else 'BROKEN'}  {said}")
    passed = all(kept for kept, _ in verdicts.values())
    shown = {name: {"kept": kept, "said": said} for name, (kept, said) in verdicts.items()}
    facts = {"robots": options.robots, "minutes": options.minutes, **found, "verdicts": shown, "passed": passed}
    write_report(options.out, {"hardware": hardware, **facts})
    return 0 if passed else 1


def soak(bundle: Bundle, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Serve, let robots live, and look at what is left; then check what they were answered."""
    records = folder / "records"
    records.mkdir()
    # Places of the killed stay taken until they have been idle for long enough; then there may be as many again.
    slots = 2 * options.robots
    serving = ["--slots", str(slots), "--idle_s", str(IDLE_S), "--hold_after_ms", str(HOLD_AFTER_MS)]
    with PolicyServer(bundle.root, folder, *serving, *server_options(options)) as server:
        memory, deaths = run_robots(server, bundle, records, options)
        time.sleep(2 * IDLE_S)
        taken = robots_taken(server, bundle, slots)
        shared = len(server.shared_memory())
        status = server.stop()
        left = [path.name for path in server.shared_memory()]
    return {
        **lives(bundle, records, options.frame_every),
        "deaths": deaths,
        "memory_mb": memory,
        "warm_up": options.warm_up,
        "places": {"slots": slots, "taken": taken},
        "shared_memory": {"while_serving": shared, "left": left},
        "exit_status": status,
    }


def run_robots(
    server: PolicyServer, bundle: Bundle, records: Path, options: argparse.Namespace
) -> tuple[list[float], int]:
    """The server's memory every `SAMPLE_S`, and how often robots were killed."""
    dice, seconds = random.Random(0), 60 * options.minutes
    mortal = max(1, options.robots // 4)
    lasting = options.robots - mortal
    end_s, memory, deaths, generation = time.monotonic() + seconds, list[float](), 0, 1

    def start(robots: int, first: int, left_s: float, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / "soak_robots.py"), str(bundle.root), server.address, str(records)]
        command += ["--robots", str(robots), "--first", str(first), "--seconds", str(left_s), *more]
        command += ["--life", *map(str, options.life), "--frame_every", str(options.frame_every)]
        return subprocess.Popen(command, env=environment())

    stable = start(lasting, 0, seconds, "--impatient", str(lasting // 8))
    dying = start(mortal, _GENERATION, seconds)
    die_s = time.monotonic() + dice.uniform(*options.life)
    try:
        with tqdm(total=round(seconds), unit="s", disable=None) as bar:
            while (left_s := end_s - time.monotonic()) > 0:
                time.sleep(min(SAMPLE_S, left_s))
                memory.append(server.memory_mb())
                bar.update(round(seconds - left_s) - bar.n)
                if time.monotonic() > die_s and left_s > options.life[0]:
                    dying.send_signal(signal.SIGKILL)
                    dying.wait()
                    deaths, generation = deaths + mortal, generation + 1
                    dying = start(mortal, generation * _GENERATION, left_s - SAMPLE_S)
                    die_s = time.monotonic() + dice.uniform(*options.life)
        for process in (stable, dying):
            if process.wait(60):
                raise SystemExit(f"a process of robots ended with status {process.returncode}")
    finally:
        for process in (stable, dying):
            process.kill()
            process.wait()
    return memory, deaths


def robots_taken(server: PolicyServer, bundle: Bundle, slots: int) -> int:
    """How many of as many robots as there are places get one."""
    assert bundle.robot is not None
    clients = [TritonPolicyClient(server.address, bundle.robot, deadline_ms=20_000.0) for _ in range(slots)]
    try:
        streams = [Stream(bundle.robot, _LAST + number, frame_every=0) for number in range(slots)]
        replies = [one.send_hop(stream.hop(stream.start)) for one, stream in zip(clients, streams, strict=True)]
        return sum(reply is not None and not {"refused", "unreachable", "late"} & {*reply.flags} for reply in replies)
    finally:
        for client in clients:
            client.close()


def lives(bundle: Bundle, records: Path, frame_every: int) -> dict[str, Any]:
    """What came of all lives: their answers checked, their sessions counted, times from hop to chunk."""
    assert bundle.robot is not None
    verdict, trips, found = Verdict(), list[Any](), {"ended": 0, "killed": 0, "lost": 0, "refused": 0}
    paths = sorted(records.glob("*.replies"), key=lambda path: int(path.stem))
    with PolicyEngine.open(bundle, hold_after_ms=HOLD_AFTER_MS) as engine:
        for path in tqdm(paths, desc="checking", disable=None):
            rows, end = read_records(path, bundle.robot), path.with_suffix(".end")
            told = json.loads(end.read_text()) if end.exists() else {}
            found["ended" if told else "killed"] += 1
            verdict.add(check(engine, Stream(bundle.robot, int(path.stem), frame_every=frame_every), rows))
            if told.get("patient", True):
                flags = [flags_of(row) for row in rows]
                found["lost"] += any({"gap", "unreachable"} & one for one in flags)
                found["refused"] += any("refused" in one for one in flags)
                trips += [row["trip_ms"] for row in rows]
            if told and len(rows) != told["hops"]:
                verdict.wrong(f"robot {path.stem} has {len(rows)} replies of {told['hops']}")
    p50, p99 = np.percentile(trips, (50, 99)) if trips else (0.0, 0.0)
    return {
        "lives": found,
        "counts": dict(verdict.counts),
        "largest": verdict.largest,
        "examples": verdict.examples,
        "round_trip_ms": {"p50": float(p50), "p99": float(p99)},
    }


def judge(found: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """Whether each verdict is kept, and what it rests on."""
    counts, lived, places = found["counts"], found["lives"], found["places"]
    wrong, memory = counts.get("wrong", 0), creep(found["memory_mb"], found["warm_up"])
    left, status = found["shared_memory"]["left"], found["exit_status"]
    trip = found["round_trip_ms"]
    return {
        "answers": (
            not wrong and counts.get("compared", 0) > 0,
            f"{counts.get('compared', 0)} chunks compared, largest difference {found['largest']:.1e}, {wrong} wrong "
            f"{found['examples'] or ''}",
        ),
        "sessions": (
            not lived["lost"] and not lived["refused"],
            f"{lived['ended']} left, {lived['killed']} were killed, {lived['lost']} lost theirs, {lived['refused']} "
            f"refused; p50 {trip['p50']:.2f} p99 {trip['p99']:.2f} ms",
        ),
        "free": (places["taken"] == places["slots"], f"{places['taken']} of {places['slots']} places"),
        "memory": (
            memory is not None and memory["largest_share"] <= MOST_CREEP,
            "too short to tell"
            if memory is None
            else f"{memory['after_warm_up_mb']:.1f} MB, then from {memory['least_mb']:.1f} to {memory['most_mb']:.1f} "
            f"({100 * memory['largest_share']:.2f} %)",
        ),
        "left": (not left and status == 0, f"{len(left)} files in shared memory, exit status {status}"),
    }


def creep(memory: Sequence[float], warm_up: float) -> dict[str, float] | None:
    """How far memory went from what it was after the warm-up; None for too few looks.

    The median of five looks stands for one, so that what a single encoding holds for a moment is no leak.
    """
    after = memory[int(len(memory) * warm_up) :]
    smooth = [statistics.median(after[at : at + 5]) for at in range(len(after) - 4)]
    if len(smooth) < 2:
        return None
    least, most = min(smooth), max(smooth)
    largest = max(most - smooth[0], smooth[0] - least) / smooth[0]
    return {"after_warm_up_mb": smooth[0], "least_mb": least, "most_mb": most, "largest_share": largest}


if __name__ == "__main__":
    raise SystemExit(main())
