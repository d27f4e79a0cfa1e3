"""Does a camera that sends more than can be encoded hold up a robot's hops? With and without frames, side by side.

    OMP_NUM_THREADS=1 python benchmarks/frame_storm.py [--robots 1 4] [--frames_hz 60] [--gflop 10 40] [--rounds 5]

The same server serves both, in turns: robots that showed one frame before they began, and robots whose cameras go on at
--frames_hz. The VL encoder is the offline backbone made slow by products of matrices (--gflop each run), so that most
frames are superseded before anybody encodes them. Reported are medians over the rounds: hop to chunk, what frames add
to its p99, the age of the VL features as replies give it, and how many of those ages are not that of a frame which was
sent, or went back to an older one. Writes runs/benchmarks/frame_storm.json (--out).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from random_policy import random_bundle
from report import machine, make_parser, write_report
from serving import environment, middle, server

HERE = Path(__file__).parent
WAYS = ("in-process", "local", "triton")


def main() -> None:
    parser = make_parser(__doc__, "frame_storm")
    parser.add_argument("--robots", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--frames_hz", type=float, default=60.0)
    parser.add_argument("--gflop", nargs="+", type=float, default=[10.0, 40.0], help="of one run of the VL encoder")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    hardware = machine("onnxruntime", "tritonclient")
    found = []
    for gflop in options.gflop:
        with tempfile.TemporaryDirectory() as folder:
            bundle = random_bundle(Path(folder), more_gflop=gflop)
            for way in options.only:
                for robots in options.robots:
                    row = {"way": way, "robots": robots, "gflop": gflop, **compare(way, bundle, robots, options)}
                    found.append(row)
                    print(line(row), flush=True)
    write_report(options.out, {"hardware": hardware, "frames_hz": options.frames_hz, "found": found})


def compare(way: str, bundle: Path, robots: int, options: Any) -> dict[str, Any]:
    """Both, in turns, on one server."""
    runs: dict[str, list[dict[str, Any]]] = {"still": [], "storm": []}
    with server(way, bundle, robots, options=["--hold_after_ms", "1e9"]) as (port, _):
        for _ in range(options.rounds):
            for name, frames_hz in (("still", 0.0), ("storm", options.frames_hz)):
                command = [sys.executable, str(HERE / "storm_robots.py"), way, str(bundle), "--port", str(port)]
                command += ["--robots", str(robots), "--seconds", str(options.seconds), "--frames_hz", str(frames_hz)]
                done = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    still, storm = middle(runs["still"]), middle(runs["storm"])
    added = storm["round_trip_ms"]["p99"] - still["round_trip_ms"]["p99"]
    wrong = sum(run["wrong_ages"] for found in runs.values() for run in found)
    return {"still": still, "storm": storm, "added_p99_ms": added, "wrong_ages": wrong}


def line(row: dict[str, Any]) -> str:
    still, storm = row["still"]["round_trip_ms"], row["storm"]["round_trip_ms"]
    age = row["storm"]["vl_age_ms"]
    return (
        f"{row['way']:<11} {row['robots']:>2} robots  encoder {row['storm']['vl_encode_ms']['p50']:6.1f} ms  "
        f"hop p50 {still['p50']:6.3f} -> {storm['p50']:6.3f}  p99 {still['p99']:6.3f} -> {storm['p99']:6.3f} ms "
        f"({row['added_p99_ms']:+.3f})  VL age p50 {age['p50']:6.1f} p99 {age['p99']:6.1f} ms  "
        f"wrong ages {row['wrong_ages']}"
    )


if __name__ == "__main__":
    main()
