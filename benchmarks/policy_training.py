"""How much faster a policy trains from cached VL features than with the backbone in the loop: fusion none, frozen VLM.

    OMP_NUM_THREADS=1 python benchmarks/policy_training.py [--data DIR]

Both learn from the same moments in the same order with the same weights, in turns, a step of each after a step of the
other, so a busy machine slows both; their losses are compared step by step. Without --data, episodes with two cameras
of 224 px are made of noise (what pixels show changes neither time). The backbone is the embedded offline one, smaller
than the policy itself: with a real --base the ratio grows. Writes runs/benchmarks/policy_training.json (--out).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from report import machine, make_parser, write_report
from tqdm import tqdm

from ganglion.core.cli import main as ganglion
from ganglion.core.images import encode_jpeg
from ganglion.core.specs import ActionSpec, CameraSpec, RobotSpec, StateSpec
from ganglion.model.vlm import preferred_device
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.episode_set import SetWriter, create_set
from ganglion.training.policy.batch import losses
from ganglion.training.policy.config import PolicyTrainConfig, VlOptions
from ganglion.training.policy.learner import make_learner
from ganglion.training.policy.loop import autocast
from ganglion.training.policy.optimization import make_optimizer, set_rates, take_step
from ganglion.training.policy.schedule import Schedule
from ganglion.training.policy.sources import open_source

ROBOT = RobotSpec(
    name="two_views",
    cameras=(CameraSpec("front", 224, 224, 10.0), CameraSpec("wrist", 224, 224, 10.0)),
    sensors=(),
    actions=ActionSpec(("x", "y"), ("m/s", "m/s"), (-5.0, -5.0), (5.0, 5.0), (1e4, 1e4), rate_hz=50.0, horizon=8),
    state=StateSpec(("q", "r"), ("rad", "rad"), rate_hz=50.0),
)


class Run:
    """A policy in training, cached or not."""

    def __init__(self, config: PolicyTrainConfig, steps: int) -> None:
        device = preferred_device()
        self.config, self.schedule = config, Schedule(steps)
        self.learner = make_learner(config, *open_source(config, device), device)
        self.optimizer = make_optimizer(self.learner.groups, config.optim)
        self.learner.learn(True)

    def step(self, number: int) -> tuple[float, float]:
        """Learn from a batch; returns what it took in ms for each moment, and the loss."""
        start = time.perf_counter()
        set_rates(self.optimizer, self.config.optim, self.schedule, number, None)
        batch = self.learner.source.batch(number).to(self.learner.device)
        with autocast(self.config, self.learner.device):
            off, _ = losses(self.learner.network, self.learner.see(batch))
        off.mean().backward()
        loss = off.mean().item()
        take_step(self.optimizer, loss, self.config.optim.max_grad_norm)
        return 1e3 * (time.perf_counter() - start) / len(off), loss


def noise(folder: Path, episodes: int = 10, seconds: float = 3.0) -> Path:
    """A set of episodes of noise."""
    create_set(folder, ROBOT)
    writer, rng = SetWriter(folder), np.random.default_rng(0)
    due = np.arange(round(seconds * 50), dtype=np.int64) * 20_000_000
    shown = np.arange(round(seconds * 10), dtype=np.int64) * 100_000_000

    def frames() -> CameraStream:
        return CameraStream(shown, [encode_jpeg(rng.integers(0, 256, (224, 224, 3), np.uint8)) for _ in shown])

    for number in range(episodes):
        values = rng.standard_normal((2, len(due), 2)).astype(np.float32)
        cameras = {camera.name: frames() for camera in ROBOT.cameras}
        actions, state = (Stream(due, value) for value in values)
        writer.add(Episode("push the cube", f"{number}", actions, state=state, cameras=cameras))
    return folder


def compare(data: Path, cache: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Steps of both in turns."""
    config = PolicyTrainConfig(data=str(data), fusion="none", batch_size=options.batch_size, vl=VlOptions(options.base))
    runs = {
        "uncached": Run(config, options.steps),
        "cached": Run(replace(config, cache=str(cache)), options.steps),
    }
    ms: dict[str, list[float]] = {name: [] for name in runs}
    lost: dict[str, list[float]] = {name: [] for name in runs}
    for number in tqdm(range(options.steps + 2), desc="steps", disable=None):
        for name, run in runs.items():
            took, loss = run.step(number)
            lost[name].append(loss)
            if number >= 2:  # the first steps allocate
                ms[name].append(took)
    return {
        "ms_per_sample": {name: float(np.median(taken)) for name, taken in ms.items()},
        "uncached_over_cached": float(np.median(np.divide(ms["uncached"], ms["cached"]))),
        "loss": {name: [values[0], values[-1]] for name, values in lost.items()},
        "largest_loss_difference": float(np.abs(np.subtract(lost["uncached"], lost["cached"])).max()),
    }


def main() -> None:
    parser = make_parser(__doc__, "policy_training")
    parser.add_argument("--data", type=Path, help="a set of episodes with cameras; default: noise")
    parser.add_argument("--base", default="offline:qwen2_vl")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=16)
    options, facts = parser.parse_args(), machine("ganglion", "torch", "transformers")
    with tempfile.TemporaryDirectory() as name:
        data, cache = options.data or noise(Path(name) / "set"), Path(name) / "features"
        with contextlib.redirect_stdout(sys.stderr):
            if code := ganglion(["cache", str(data), "--base", options.base, "--out", str(cache)]):
                sys.exit(code)
        found = compare(data, cache, options)
    device = str(preferred_device())
    ms = found["ms_per_sample"]
    print(f"ms per sample on {device}: uncached {ms['uncached']:.2f}, cached {ms['cached']:.2f}")
    print(f"cached is {found['uncached_over_cached']:.1f} times as fast")
    print(f"largest difference of losses in {options.steps + 2} steps: {found['largest_loss_difference']:.1e}")
    write_report(options.out, {"machine": facts, "base": options.base, "device": device, **found})


if __name__ == "__main__":
    main()
