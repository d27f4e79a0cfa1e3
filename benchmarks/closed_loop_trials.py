"""One policy in the insertion world, one seed after the other, under given conditions; resumable.

    python benchmarks/closed_loop_trials.py POLICY --trials runs/closed_loop/trials/concat.json

Each seed's outcome is kept as soon as its batch of worlds is through; a run given again does what is missing. Used by
closed_loop.py, which says what is tried and what came of it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from policy_graphs import with_graphs
from tqdm import tqdm

from ganglion.core.paths import write_json
from ganglion.model.policy.policy import VLAPolicy
from ganglion.simulation.insertion.case import Case, draw_case, instruction
from ganglion.simulation.insertion.outcome import SECONDS, judge
from ganglion.simulation.insertion.world import Insertion
from ganglion.training.closed_loop.driver import Driver
from ganglion.training.closed_loop.rollout import Conditions, roll_out

BATCH = 10  # worlds at once: what a pass of the network costs is shared


def main() -> None:
    args = _options()
    torch.set_num_threads(1)
    found = json.loads(args.trials.read_text()) if args.trials.exists() else {"trials": []}
    done = {trial["seed"] for trial in found["trials"]}
    wanted = [seed for seed in range(args.first, args.first + args.count) if seed not in done]
    if not wanted:
        return
    policy = VLAPolicy.from_pretrained(args.policy)
    if args.bundle:
        policy = with_graphs(policy, args.bundle)
    conditions = Conditions(
        SECONDS,
        latency_ms=args.latency_ms,
        sensor_until_s=args.sensor_until_s,
        camera_until_s=args.camera_until_s,
        sensor_groups=tuple(args.sensor_groups) if args.sensor_groups else None,
        state=not args.without_state,
    )
    for start in tqdm(range(0, len(wanted), BATCH), desc=args.trials.stem, disable=None):
        cases = [draw_case(seed) for seed in wanted[start : start + BATCH]]
        found["trials"] += _try(policy, cases, conditions, args)
        write_json(args.trials, {"policy": str(args.policy), "conditions": asdict(conditions), **found})


def _try(policy: VLAPolicy, cases: list[Case], conditions: Conditions, args: Any) -> list[dict[str, Any]]:
    begun = time.perf_counter()
    asked = [(case.chosen + args.other_mark) % len(case.marks) for case in cases]
    goals = [instruction(case.marks[mark].icon, case.layer) for case, mark in zip(cases, asked, strict=True)]
    worlds = [Insertion(case, policy.robot if policy.robot.sensors else None) for case in cases]
    try:
        # Seeds of a flow's noise are the batch's first: the same however a run is cut into pieces of whole batches.
        driver = Driver(policy, len(worlds), window=args.window, seed=cases[0].seed)
        roll_out(worlds, driver, goals, conditions)
        outcomes = [judge(world, mark) for world, mark in zip(worlds, asked, strict=True)]
    finally:
        for world in worlds:
            world.close()
    seconds = (time.perf_counter() - begun) / len(cases)
    return [
        {"seed": case.seed, "asked_mark": mark, "asked_layer": case.layer, **asdict(outcome)}
        | {"wall_s": round(seconds, 3)}
        for case, mark, outcome in zip(cases, asked, outcomes, strict=True)
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="folder that 'ganglion train policy' wrote")
    parser.add_argument("--trials", type=Path, required=True, help="file for the outcomes")
    parser.add_argument("--bundle", type=Path, help="a bundle of the policy, whose graphs are to drive")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=100, help="seeds")
    parser.add_argument("--latency_ms", type=float, default=0.0, help="from a frame's exposure until its features")
    parser.add_argument("--sensor_until_s", type=float, help="when the sensor is lost; the policy drives from 1 s on")
    parser.add_argument("--camera_until_s", type=float, help="when the cameras go dark")
    parser.add_argument("--sensor_groups", nargs="+", help="channel groups that are given; default all")
    parser.add_argument("--without_state", action="store_true", help="the robot's state is not given")
    parser.add_argument("--other_mark", type=int, default=0, choices=(0, 1, 2), help="1, 2: name another mark")
    parser.add_argument("--window", action="store_true", help="encode whole windows instead of streaming")
    return parser.parse_args()


if __name__ == "__main__":
    main()
