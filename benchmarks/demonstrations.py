"""How long it takes to read what a policy is given at one moment of an episode.

    OMP_NUM_THREADS=1 python benchmarks/demonstrations.py

Writes episodes of the default robot (force and 1025 bins at 650 Hz as float16, 50 Hz actions, 30 Hz camera) and reads
windows at random moments of random episodes: the cut alone, which copies nothing; copied; turned to float32; from a
sensor with gaps; and with the episode's pages dropped from the system's cache before each read. Beside it, the same
window out of a file that has to be loaded whole. Time is by the clock, and of the processor alone, which others on the
machine don't lengthen. Writes runs/benchmarks/demonstrations.json (--out).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import machine, make_parser, write_report

from ganglion.core.specs import default_robot
from ganglion.training.demonstrations.cutting import cut_chunk, cut_window
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.episode_set import EpisodeSet, SetWriter, create_set


def regular(rate_hz: float, seconds: float) -> Any:
    return np.rint(np.arange(round(rate_hz * seconds)) * (1e9 / rate_hz)).astype(np.int64)


def write_set(folder: Path, count: int, seconds: float) -> EpisodeSet:
    robot, rng = default_robot(), np.random.default_rng(0)
    create_set(folder, robot)
    writer, sensor = SetWriter(folder), robot.sensors[0]
    for number in range(count):
        at, frames = regular(sensor.rate_hz, seconds), regular(robot.cameras[0].rate_hz, seconds)
        if number % 2:  # every other sensor loses 2 % of its samples, in runs
            at = at[np.repeat(rng.random(-(-len(at) // 20)) > 0.02, 20)[: len(at)]]
        moments = regular(robot.actions.rate_hz, seconds)
        writer.add(
            Episode(
                instruction="benchmark",
                session=f"{number}",
                actions=Stream(moments, rng.random((len(moments), robot.actions.dim), np.float32)),
                sensors={
                    sensor.name: Stream(at, rng.random((len(at), sensor.channels), np.float32).astype(np.float16))
                },
                cameras={robot.cameras[0].name: CameraStream(frames, [rng.bytes(7000)] * len(frames))},
            )
        )
    return EpisodeSet(folder)


def dropped(folder: Path) -> None:
    """Take a folder's files out of the system's cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(
    episodes: EpisodeSet, parity: int, reads: int, read: Callable[[Episode, int], Any], cold: bool
) -> dict[str, float]:
    rng, robot, wall, cpu = np.random.default_rng(1), episodes.robot, list[float](), list[float]()
    chosen = [number for number in range(len(episodes)) if number % 2 == parity]
    for number in rng.choice(chosen, reads):
        if cold:
            dropped(episodes.episode_folder(episodes.names[number]))
            episodes = EpisodeSet(episodes.folder)  # mapped pages can't be dropped
        episode = episodes[number]
        now = int(rng.choice(episode.actions.stamps_ns[int(robot.actions.rate_hz) :]))
        start, busy = time.perf_counter_ns(), time.thread_time_ns()
        read(episode, now)
        cpu.append((time.thread_time_ns() - busy) / 1e3)
        wall.append((time.perf_counter_ns() - start) / 1e3)
    return {
        "reads": reads,
        "wall_p50_us": float(np.median(wall)),
        "wall_p95_us": float(np.percentile(wall, 95)),
        "cpu_p50_us": float(np.median(cpu)),
        "cpu_p95_us": float(np.percentile(cpu, 95)),
    }


def main() -> None:
    parser = make_parser(__doc__, "demonstrations")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--reads", type=int, default=2000)
    args = parser.parse_args()
    facts = {"hardware": machine("numpy"), "episodes": args.episodes, "seconds": args.seconds}
    robot = default_robot()
    sensor = robot.sensors[0]

    def cut(episode: Episode, now: int) -> Any:
        return cut_window(episode.sensors[sensor.name], sensor, now)

    def copied(episode: Episode, now: int) -> Any:
        return cut(episode, now).samples.copy(), cut_chunk(episode.actions, robot.actions, now)

    def as_float32(episode: Episode, now: int) -> Any:
        return cut(episode, now).samples.astype(np.float32), cut_chunk(episode.actions, robot.actions, now)

    with tempfile.TemporaryDirectory(dir=args.out.parent if args.out.parent.is_dir() else None) as folder:
        episodes = write_set(Path(folder) / "set", args.episodes, args.seconds)

        def whole(episode: Episode, now: int) -> Any:
            path = episodes.episode_folder(episodes.names[int(episode.session)]) / f"sensor.{sensor.name}.npy"
            samples = np.load(path)
            end = int(np.searchsorted(episode.sensors[sensor.name].stamps_ns, now, side="right"))
            return samples[max(end - sensor.window_samples, 0) : end].copy()

        few = max(args.reads // 20, 1)
        found = {
            "cut alone": timed(episodes, 0, args.reads, cut, cold=False),
            "copied": timed(episodes, 0, args.reads, copied, cold=False),
            "copied, with gaps": timed(episodes, 1, args.reads, copied, cold=False),
            "copied, cold": timed(episodes, 0, few, copied, cold=True),
            "as float32": timed(episodes, 0, args.reads, as_float32, cold=False),
            "file loaded whole": timed(episodes, 0, few, whole, cold=False),
            "file loaded whole, cold": timed(episodes, 0, few, whole, cold=True),
        }
    columns = ("wall_p50_us", "wall_p95_us", "cpu_p50_us", "cpu_p95_us")
    print(f"{'window of 650 x 1026':<26}" + "".join(f"{column:>13}" for column in columns))
    for name, row in found.items():
        print(f"{name:<26}" + "".join(f"{row[column]:>13.0f}" for column in columns))
    write_report(args.out, {**facts, "read": found})


if __name__ == "__main__":
    main()
