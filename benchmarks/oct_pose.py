"""The needle's pose from a second of OCT, by the sensor-fusion policy and by plain CNNs of its size.

    OMP_NUM_THREADS=2 python benchmarks/oct_pose.py ../shared/data/oct_needle_pose

Trains recipes/policy_oct.yaml, and on the very same batches, with the same optimizer and schedule, a CNN over time (the
A-scan's bins are its channels) and a CNN over time and depth (a window is a picture), each at three learning rates of
which the validation volumes choose. All are scored on the volumes that nobody trained on, at ten windows around the
raster of each, beside predicting the training mean. A CNN sees a window as a whole; the policy's encoder, which is
causal, has an answer every hop for a fraction of the work. Writes runs/benchmarks/oct_pose.json (--out).
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import machine, make_parser, write_report
from torch import Tensor, nn
from tqdm import tqdm

from ganglion.model.policy.config import policy_config
from ganglion.model.policy.network import PolicyNetwork
from ganglion.training.policy.batch import Batch, predict
from ganglion.training.policy.config import OptimOptions, PolicyTrainConfig
from ganglion.training.policy.oct_volumes import OctSource
from ganglion.training.policy.optimization import make_optimizer, set_rates, take_step
from ganglion.training.policy.schedule import Schedule

RATES = (3e-4, 1e-3, 3e-3)  # the recipe's is the second
STEPS, BATCH = 700, 24  # the recipe's


class PolicyPose(nn.Module):
    """The policy of the recipe."""

    def __init__(self, source: OctSource) -> None:
        super().__init__()
        self.network = PolicyNetwork(policy_config(source.robot, "slim"))

    def forward(self, batch: Batch) -> Tensor:
        """Poses (B * R, 6), normalized."""
        return predict(self.network, batch).reshape(-1, batch.actions.shape[-1])


class TimeCnn(nn.Module):
    """Convolutions over time, averaged over it: a window may start anywhere in the raster."""

    def __init__(self, source: OctSource) -> None:
        super().__init__()
        sensor = source.robot.sensors[0]
        self.hop, self.window = sensor.hop_samples, sensor.window_samples
        widths, layers = (sensor.channels, 80, 80, 160, 160), list[nn.Module]()
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv1d(before, after, 5, stride=3, padding=2), nn.GroupNorm(8, after), nn.GELU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], source.robot.actions.dim)

    def forward(self, batch: Batch) -> Tensor:
        """Poses (B * R, 6), normalized."""
        poses: Tensor = self.head(self.body(windows(batch, self.window, self.hop).transpose(1, 2)).mean(2))
        return poses


class PictureCnn(nn.Module):
    """Convolutions over time and depth, averaged over time: depth says how deep the needle is."""

    def __init__(self, source: OctSource) -> None:
        super().__init__()
        sensor = source.robot.sensors[0]
        self.hop, self.window, self.mirror = sensor.hop_samples, sensor.window_samples, sensor.groups[0].channels
        widths, layers = (1 + self.mirror, 16, 48, 88, 136), list[nn.Module]()
        for number, (before, after) in enumerate(itertools.pairwise(widths)):
            size, stride = (5, 3) if number else ((5, 8), (5, 8))
            layers += [nn.Conv2d(before, after, size, stride, padding=2), nn.GroupNorm(8, after), nn.GELU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(3 * widths[-1], source.robot.actions.dim)

    def forward(self, batch: Batch) -> Tensor:
        """Poses (B * R, 6), normalized."""
        seen = windows(batch, self.window, self.hop)
        scans, mirror = seen[:, None, :, self.mirror :], seen[:, :, : self.mirror].transpose(1, 2)[..., None]
        picture = torch.cat([scans, mirror.expand(-1, -1, -1, scans.shape[-1])], dim=1)
        poses: Tensor = self.head(self.body(picture).mean(2).flatten(1))
        return poses


def windows(batch: Batch, samples: int, hop: int) -> Tensor:
    """The window before each read, (B * R, samples, channels)."""
    assert batch.samples is not None
    found = [batch.samples[:, end * hop - samples : end * hop] for end in batch.ends]
    return torch.stack(found, dim=1).flatten(0, 1)


MODELS = {"policy": PolicyPose, "CNN over time": TimeCnn, "CNN over time and depth": PictureCnn}


@dataclass
class Contestant:
    """One of them, at one rate."""

    name: str
    rate: float
    model: nn.Module
    optimizer: torch.optim.Optimizer
    seconds: float = 0.0

    def step(self, batch: Batch, schedule: Schedule, number: int) -> None:
        """Learn from a batch."""
        start = time.perf_counter()
        set_rates(self.optimizer, OptimOptions(lr=self.rate), schedule, number, None)
        with torch.autocast("cpu", torch.bfloat16):
            said = self.model(batch)
        loss = (said.float() - batch.actions.reshape(said.shape)).abs().mean()
        loss.backward()
        take_step(self.optimizer, loss.item(), max_norm=1.0)
        self.seconds += time.perf_counter() - start

    @torch.no_grad()
    def errors(self, batches: list[Batch]) -> Tensor:
        """Mean absolute error of each dimension, normalized: (6,)."""
        self.model.eval()
        off = [(self.model(b) - b.actions.reshape(-1, b.actions.shape[-1])).abs() for b in batches]
        self.model.train()
        return torch.cat(off).mean(0)


def contestant(name: str, rate: float, source: OctSource) -> Contestant:
    """A model with fresh weights."""
    torch.manual_seed(0)
    model = MODELS[name](source)
    return Contestant(name, rate, model, make_optimizer({"action_expert": list(model.parameters())}, OptimOptions()))


def compete(folder: Path, steps: int) -> dict[str, Any]:
    """Train all and score those that validated best."""
    source = OctSource(PolicyTrainConfig(data=str(folder), batch_size=BATCH))
    schedule = Schedule(steps, warmup=0.03, hold=0.0, floor=0.0)
    everyone = [contestant(name, rate, source) for name in MODELS for rate in RATES]
    for number in tqdm(range(steps), desc="steps", disable=None):
        batch = source.batch(number)
        for each in everyone:
            each.step(batch, schedule, number)
    validation, test = list(source.held_back("validation")), list(source.held_back("test"))
    mean = torch.cat([batch.actions.reshape(-1, batch.actions.shape[-1]) for batch in test]).abs().mean(0)
    rows = {"mean": row(source, mean)}
    for name in MODELS:
        best = min(
            (each for each in everyone if each.name == name), key=lambda each: float(each.errors(validation).mean())
        )
        count = sum(p.numel() for p in best.model.parameters())
        took = {"rate": best.rate, "parameters": count, "ms_per_step": 1e3 * best.seconds / steps}
        rows[name] = {**row(source, best.errors(test)), **took}
    return {
        "volumes": {part: len(names) for part, names in source.facts["volumes"].items()},
        "steps": steps,
        "errors": rows,
    }


def row(source: OctSource, off: Tensor) -> dict[str, Any]:
    """Errors in standard deviations as errors in units."""
    values = off.numpy() * source.norm.action.std
    units = {name: float(value) for name, value in zip(source.robot.actions.names, values, strict=True)}
    return {"all": float(np.mean(off.numpy())), **units}


def main() -> None:
    parser = make_parser(__doc__, "oct_pose")
    parser.add_argument("data", type=Path, help="folder of OCT volumes (.npz)")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    facts, found = machine("ganglion", "torch"), compete(options.data, options.steps)
    dimensions = [name for name in found["errors"]["mean"] if name != "all"]
    print(f"{'':<26}{'all, sd':>9}" + "".join(f"{name:>8}" for name in dimensions) + "   parameters  ms/step  rate")
    for name, errors in found["errors"].items():
        line = f"{name:<26}{errors['all']:>9.3f}" + "".join(f"{errors[each]:>8.3f}" for each in dimensions)
        more = (
            f"{errors['parameters']:>13,}{errors['ms_per_step']:>9.0f}{errors['rate']:>8.0e}"
            if "rate" in errors
            else ""
        )
        print(line + more)
    write_report(options.out, {"machine": facts, **found})


if __name__ == "__main__":
    main()
