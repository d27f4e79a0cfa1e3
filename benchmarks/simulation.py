"""What a sample and a frame of the simulated robots cost, and how that compares with real time.

    OMP_NUM_THREADS=1 python benchmarks/simulation.py

Both worlds are driven by their experts; hops and frames take turns, so that both meet the same machine. A hop is 13
samples, 20 ms of the robot's time. Writes runs/benchmarks/simulation.json (--out).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from report import machine, make_parser, write_report

from ganglion.simulation.scenario import get_scenario, scenario_names
from ganglion.simulation.world import World

HOPS_PER_FRAME = 5


def main() -> None:
    parser = make_parser(__doc__, "simulation")
    parser.add_argument("--hops", type=int, default=400, help="of each world (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (default 0)")
    args = parser.parse_args()
    ran_on = machine("mujoco", "numpy")
    worlds = {name: _measure(name, args.seed, args.hops) for name in scenario_names()}
    for name, found in worlds.items():
        print(f"{name}: begins in {found['begin_ms']:.0f} ms, then medians (p99) of")
        print(f"  sample       {found['sample_us']['median']:8.1f} us ({found['sample_us']['p99']:.1f})")
        for camera, cost in found["frame_ms"].items():
            size = found["pixels"][camera]
            print(f"  frame {camera:<8} {cost['median']:6.2f} ms ({cost['p99']:.2f}), {size[0]} x {size[1]} px")
        print(f"  all together {found['of_real_time']:.2f} of real time on one core, frames at the cameras' rates")
    write_report(args.out, {"machine": ran_on, "hops": args.hops, "worlds": worlds})


def _measure(name: str, seed: int, hops: int) -> dict[str, Any]:
    scenario = get_scenario(name)
    begin_s, trial = _timed(lambda: scenario.begin(seed, scenario.robot))
    world: World = trial.world
    cameras, sensor = world.robot.cameras, world.robot.sensors[0]
    for camera in cameras:
        world.frame(camera.name)  # the first one makes the renderer
    costs: dict[str, list[float]] = {camera.name: [] for camera in cameras}
    hop_s = []
    for hop in range(hops):
        action = trial.act()
        hop_s.append(_timed(lambda action=action: world.step(action))[0])  # type: ignore[misc]
        if hop % HOPS_PER_FRAME == 0:
            for camera in cameras:
                costs[camera.name].append(_timed(lambda camera=camera: world.frame(camera.name))[0])  # type: ignore[misc]
    world.close()
    sample_us = np.array(hop_s) / sensor.hop_samples * 1e6
    per_second = np.median(hop_s) * sensor.rate_hz / sensor.hop_samples
    per_second += sum(np.median(costs[camera.name]) * camera.rate_hz for camera in cameras)
    return {
        "begin_ms": begin_s * 1e3,
        "sample_us": _told(sample_us),
        "frame_ms": {camera: _told(np.array(cost) * 1e3) for camera, cost in costs.items()},
        "pixels": {camera.name: [camera.width, camera.height] for camera in cameras},
        "of_real_time": float(per_second),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def _told(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "p99": float(np.percentile(values, 99))}


if __name__ == "__main__":
    main()
