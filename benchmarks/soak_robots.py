"""A process with robots that join, live for a while and leave, until it is told to end or is killed: for soak.py.

    python benchmarks/soak_robots.py BUNDLE HOST:PORT FOLDER --robots 8 --first 1000000 --seconds 60 [--life 5 30]

Each robot is a thread at its own pace. A life's replies go to FOLDER/START.replies, where START is the number of its
first hop, from which all that it sent follows (checked_robot.py). Beside them START.end says how the life ended: it is
missing where this process was killed. Robots that --impatient counts wait no longer than 1 ms for a reply.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from pathlib import Path

from checked_robot import Stream, drive

from ganglion.core.bundle import open_bundle
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.triton_client import TritonPolicyClient

APART = 100_000  # hops between the lives of one robot; and robots are far apart by --first
PATIENT_MS, IMPATIENT_MS = 5_000.0, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--robots", type=int, default=8)
    parser.add_argument("--impatient", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="hop number at which the first life begins")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--life", nargs=2, type=float, default=(5.0, 30.0), help="seconds, from and to")
    parser.add_argument("--frame_every", type=int, default=50)
    options = parser.parse_args()
    robot = open_bundle(options.bundle).robot
    assert robot is not None
    end_s = time.monotonic() + options.seconds
    threads = [threading.Thread(target=live, args=(number, robot, options, end_s)) for number in range(options.robots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def live(number: int, robot: RobotSpec, options: argparse.Namespace, end_s: float) -> None:
    """One life after another."""
    dice, life = random.Random(options.first + number), 0
    period_s = robot.sensors[0].hop_ms / 1e3
    deadline_ms = IMPATIENT_MS if number < options.impatient else PATIENT_MS
    while (left_s := end_s - time.monotonic()) > 1.0:
        # Not a multiple of a block, so that no two robots sense the same at the same time.
        start = options.first + life * options.robots * APART + number * (APART + 53)
        hops = int(min(left_s, dice.uniform(*options.life)) / period_s)
        stream = Stream(robot, start, frame_every=options.frame_every)
        with (
            (options.folder / f"{start}.replies").open("wb", buffering=0) as file,
            TritonPolicyClient(options.address, robot, deadline_ms=deadline_ms) as client,
        ):
            drive(client, stream, hops, file.write, paced=True, phase_s=dice.uniform(0, period_s))
        end = {"hops": hops, "patient": deadline_ms == PATIENT_MS}
        (options.folder / f"{start}.end").write_text(json.dumps(end), encoding="utf-8")
        life += 1
        time.sleep(dice.uniform(0.1, 2.0))


if __name__ == "__main__":
    main()
