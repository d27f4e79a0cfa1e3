"""Does feeling help? Policies in closed loop in the insertion world, on seeds that nothing was chosen by.

    python benchmarks/closed_loop.py --folder runs/closed_loop

One command, from nothing: it records demonstrations, has the frozen backbone look at them once, trains a policy for
each way of sensing, tries all of them on the same fresh seeds, and then the main one under what may go wrong. Given
again it goes on where it was interrupted. Writes runs/benchmarks/closed_loop.json (--out), a table beside it (.md) and
a plot (.png). --quick goes through all of it in minutes, with figures that mean nothing.

What was fixed before the test seeds were run, and how: thresholds of success (ganglion.simulation.insertion.outcome) by
the geometry of marks and layers; shape, rates and length of training (recipes/insertion.yaml) by trials on seeds
800,000 and up. Test seeds are TEST_SEED and up. Demonstrations and glances are of neither (`data synth` gives every
--seed a million cases of its own).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import machine, make_parser, write_report
from resumable import finished_stages, run_unfinished

from ganglion.core.paths import recipe
from ganglion.demo.quickstart.stages import Stage

TEST_SEED = 20_000_000
MAIN = "concat"  # what is tried under what may go wrong
DATA = {  # name: episodes or scenes, --seed, further options
    "demonstrations": (600, 300_000, ()),
    "glances": (2000, 500_000, ("--glances", "9")),
}
CONFIDENCE_Z = 1.96  # of a 95 % interval
AGES_MS = (0, 50, 100, 200, 400)
SENSOR_LOST_S = 3.0  # the policy drives from second 1 to 7
GANGLION = ("-m", "ganglion.core.cli")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


@dataclass(frozen=True)
class Trial:
    """One policy under one condition.

    train  options of its training beside the recipe's, none where another trial's policy is used
    drive  options of closed_loop_trials.py
    """

    name: str
    policy: str
    train: tuple[str, ...] = ()
    drive: tuple[str, ...] = ()


SENSING = (
    Trial("none", "none", ("--fusion", "none")),
    Trial("vision only", "vision_only", ("--fusion", "none", "--state", "false"), ("--without_state",)),
    Trial("force only", "force_only", ("--sensor_groups", '["force"]'), ("--sensor_groups", "force")),
    Trial("A-scan only", "a_scan_only", ("--sensor_groups", '["a_scan"]'), ("--sensor_groups", "a_scan")),
    Trial("concat", "concat", ("--fusion", "concat")),
    Trial("cross attention", "cross_attention", ("--fusion", "cross_attention")),
    Trial("gated", "gated", ("--fusion", "gated")),
    Trial("flow head", "flow", ("--head", "flow")),
)
GOING_WRONG = (
    *(Trial(f"{age} ms late, told", MAIN, drive=("--latency_ms", str(age))) for age in AGES_MS[1:]),
    Trial("not told ages", "untold", ("--vl.tell_age", "false")),
    *(Trial(f"{age} ms late, not told", "untold", drive=("--latency_ms", str(age))) for age in AGES_MS[1:]),
    Trial("another mark named", MAIN, drive=("--other_mark", "1")),
    Trial("sensor lost", MAIN, drive=("--sensor_until_s", str(SENSOR_LOST_S))),
    Trial("cameras dark", MAIN, drive=("--camera_until_s", str(SENSOR_LOST_S))),
    Trial("whole windows", MAIN, drive=("--window",)),
)
TRIALS = (*SENSING, *GOING_WRONG)


def main() -> None:
    parser = make_parser(__doc__, "closed_loop")
    parser.add_argument("--folder", type=Path, default=Path("runs/closed_loop"), help="for what is made on the way")
    parser.add_argument("--seeds", type=int, default=100, help="fresh seeds per condition (default 100)")
    parser.add_argument("--lanes", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--quick", action="store_true", help="a few episodes, steps and seeds, to see it run")
    args = parser.parse_args()
    share, steps, seeds = (0.01, 20, 2) if args.quick else (1.0, None, args.seeds)
    run_unfinished(_stages(args.folder, share, steps, seeds), args.folder, args.lanes)
    figures = {
        "machine": machine("torch", "mujoco", "transformers"),
        "seeds": {"test": [TEST_SEED, seeds]},
        "stage_s": {name: stage["seconds"] for name, stage in finished_stages(args.folder).items()},
        "trials": {trial.name: summary(_outcomes(args.folder, trial, seeds)) for trial in TRIALS},
    }
    _show(figures, args.out)
    write_report(args.out, figures)


def _stages(folder: Path, share: float, steps: int | None, seeds: int) -> list[Stage]:
    """All of it, as commands a user could type."""
    base, layer = _backbone()
    stages = [
        Stage("backbone", ("-c", f"from ganglion.model.checkpoint import resolve_base; resolve_base({base!r})"), (), 2)
    ]
    for name, (count, seed, more) in DATA.items():
        to, only = ("--out", str(folder / name)), ("--count", str(math.ceil(share * count)), "--seed", str(seed))
        synth = (*GANGLION, "data", "synth", "insertion", *to, *only, *more, "--cameras", '["wrist"]', "--workers", "2")
        stages.append(Stage(name, synth, (), 2))
        seen = ("--base", base, "--layer", str(layer), "--out", str(_features(folder, name)), "--threads", "1")
        cache = (*TORCHRUN, "ganglion.core.cli", "cache", str(folder / name), *seen)
        stages.append(Stage(f"features of {name}", cache, ("backbone", name), 2))
    length = ("--steps", str(steps)) if steps else ()
    data, features = [str(folder / name) for name in DATA], [str(_features(folder, name)) for name in DATA]
    learned = ("--data", json.dumps(data), "--cache", json.dumps(features))
    given = ("--config", str(recipe("insertion.yaml")), *learned)
    for trial in sorted(TRIALS, key=lambda one: one.policy != MAIN):  # what all else is compared with comes first
        out = str(folder / "policies" / trial.policy)
        if trial.train:
            argv = (*GANGLION, "train", "policy", *given, *trial.train, "--out", out, *length, "--threads", "1")
            stages.append(Stage(f"train {trial.policy}", argv, tuple(f"features of {name}" for name in DATA)))
        to = ("--trials", str(_file(folder, trial)), "--first", str(TEST_SEED), "--count", str(seeds))
        script = str(Path(__file__).with_name("closed_loop_trials.py"))
        stages.append(Stage(f"try {trial.name}", (script, out, *trial.drive, *to), (f"train {trial.policy}",)))
    return stages


def summary(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares with 95 % intervals, and depth errors of those that went in at the mark that was asked."""
    count = len(outcomes)
    reached = [o for o in outcomes if o["mark"] == o["asked_mark"]]
    errors = np.sort([abs(o["depth_error_mm"]) for o in reached])
    return {
        "n": count,
        "success": share(sum(o["success"] for o in outcomes), count),
        "right_mark": share(len(reached), count),
        "right_layer": share(sum(o["layer"] == o["asked_layer"] for o in outcomes), count),
        "breached": share(sum(o["breached"] for o in outcomes), count),
        "depth_error_mm": median(errors) if len(errors) else None,
        "wall_s_per_episode": float(np.median([o["wall_s"] for o in outcomes])),
    }


def share(hits: int, count: int) -> dict[str, float]:
    """A share and its interval (Wilson 1927), which holds near 0 and 1 too."""
    p, z2 = hits / count, CONFIDENCE_Z**2
    middle = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = CONFIDENCE_Z * math.sqrt(p * (1 - p) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return {"share": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def median(values: np.ndarray) -> dict[str, float]:
    """The median of sorted values and its interval by ranks (the binomial's normal approximation)."""
    count = len(values)
    half = CONFIDENCE_Z * math.sqrt(count) / 2
    low, high = max(0, math.floor(count / 2 - half)), min(count - 1, math.ceil(count / 2 + half))
    return {"median": float(np.median(values)), "low": float(values[low]), "high": float(values[high])}


def _backbone() -> tuple[str, int]:
    """Base and layer of the recipe."""
    import yaml

    vl = yaml.safe_load(recipe("insertion.yaml").read_text(encoding="utf-8"))["vl"]
    return vl["base"], vl["layer"]


def _features(folder: Path, name: str) -> Path:
    return folder / f"{name}.features"


def _file(folder: Path, trial: Trial) -> Path:
    return folder / "trials" / f"{trial.name.replace(' ', '_').replace(',', '')}.json"


def _outcomes(folder: Path, trial: Trial, seeds: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_file(folder, trial).read_text())["trials"]
    return [one for one in found if TEST_SEED <= one["seed"] < TEST_SEED + seeds]


def _show(figures: Mapping[str, Any], out: Path) -> None:
    lines = [
        "| trial | success | right mark | right layer | breached | depth error mm |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures["trials"].items():
        shares = (found[key] for key in ("success", "right_mark", "right_layer", "breached"))
        cells = [f"{one['share']:.2f} ({one['low']:.2f}-{one['high']:.2f})" for one in shares]
        error = found["depth_error_mm"]
        cells.append(f"{error['median']:.2f} ({error['low']:.2f}-{error['high']:.2f})" if error else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
    _plot(figures["trials"], out.with_suffix(".png"))


def _plot(trials: Mapping[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(trials)[::-1]
    found = [trials[name]["success"] for name in names]
    figure, axes = pyplot.subplots(figsize=(7, 0.32 * len(names) + 1), layout="constrained")
    middle = [one["share"] for one in found]
    below = [max(0.0, one["share"] - one["low"]) for one in found]
    above = [max(0.0, one["high"] - one["share"]) for one in found]
    axes.barh(names, middle, xerr=[below, above], color="#5b8db8", ecolor="#333333", capsize=2)
    axes.set(xlim=(0, 1), xlabel="success, with 95 % interval")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
