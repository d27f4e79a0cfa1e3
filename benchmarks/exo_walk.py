"""Assistance in closed loop: the exo_assist model looks, a sensor policy helps, and the wearer's effort is counted.

    OMP_NUM_THREADS=1 python benchmarks/exo_walk.py [--run runs/exo_walk]

What looks is trained twice by recipes/exo_assist.yaml: on drawn terrain, and on frames of the walk's own camera (other
walks); both are scored on fresh frames. What helps is a policy that imitates the device's own law from its sensors. In
closed loop, on walks that nothing was trained on, each walk is walked four times: without help; with the law at the
right percent, which is the reference; with the policy at the right percent; and all together, the percent from what the
model says of what it sees. The wearer says something twice a walk. Effort is the net effort of
ganglion.simulation.exo_walk.effort per meter and kg; only walks that all of a pair finished are compared.

About 25 minutes on one core to itself. Interrupted, the same command goes on; what is finished is in the folder --run.
Writes runs/benchmarks/exo_walk.json (--out) and a plot beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from adapter_checks import exit_code
from report import machine, make_parser, write_report

from ganglion.core.cli import main as ganglion
from ganglion.core.errors import GanglionError
from ganglion.core.paths import recipe, write_json, written_aside
from ganglion.core.tasks import EXO_ASSIST
from ganglion.core.tasks.exo_assistance import RATE_PERCENT_S
from ganglion.core.tasks.exo_dialogue import Question
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS, TERRAINS
from ganglion.core.tasks.task import Example
from ganglion.model.dialogue.answers import write_answers
from ganglion.model.policy.policy import VLAPolicy
from ganglion.simulation.exo_walk import draw_walk
from ganglion.training.closed_loop.driver import Driver
from ganglion.training.closed_loop.paired import paired_difference
from ganglion.training.closed_loop.walks import Answer, Imitation, Laws, Walked, walk_all
from ganglion.training.evaluate.adapter import load_tuned, read_run

FIRST_TEST_WALK = 20_000
DEMONSTRATIONS_SEED = 5  # of walks to imitate the law by
TEST_SEED = 977  # of frames used for nothing else
ARMS = ("none", "law", "policy", "together")
SYNTH = {"drawn": ("--seed", "1"), "walk": ("--seed", "2", "--view", "exo_walk")}
TITLES = {"law": "law, right percent", "policy": "policy, right percent", "together": "model and policy"}


def main() -> None:
    parser = make_parser(__doc__, "exo_walk")
    parser.add_argument("--run", type=Path, default=Path("runs/exo_walk"), help="where data, models and walks are")
    parser.add_argument(
        "--rows", type=int, default=5280, help="rows of each of the two sets that the models learn from"
    )
    parser.add_argument("--sft_steps", type=int, default=660, help="steps of the models, the recipe's")
    parser.add_argument("--frames", type=int, default=300, help="fresh frames that they are scored on")
    parser.add_argument("--demonstrations", type=int, default=80, help="walks that the policy learns from")
    parser.add_argument("--policy_steps", type=int, default=1500, help="steps of the policy")
    parser.add_argument("--walks", type=int, default=10, help="fresh walks of each terrain")
    options = parser.parse_args()
    facts = machine("ganglion", "torch", "mujoco")
    seen = {name: looking(options, name) for name in SYNTH}
    felt = feeling(options)
    walked = walk(options)
    figures = {"looking": seen, "policy": felt, **compare(walked)}
    print(table(figures))
    plot(figures, options.out.with_suffix(".png"))
    write_report(options.out, {"machine": facts, "options": told(options), **figures})


def told(options: argparse.Namespace) -> dict[str, Any]:
    """The options that decide the figures."""
    return {name: value for name, value in vars(options).items() if name not in ("run", "out")}


def command(*words: object) -> None:
    """Run a command of ganglion's here.

    Raises:
        GanglionError: it failed.
    """
    if code := ganglion([str(word) for word in words]):
        raise GanglionError(f"'ganglion {' '.join(map(str, words[:3]))}' ended with {code}")


def looking(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Train the model of that name and score it on fresh frames of the walk's camera."""
    run = options.run
    data, test, adapter, out = (run / part for part in (f"data_{name}", "frames", f"vlm_{name}", f"scores_{name}"))
    size = ("--count", options.rows, "--limit_share", 0.3, "--rows_per_image", 2 if name == "drawn" else 4)
    if not data.exists():
        command("data", "synth", "exo_assist", "--out", data, *size, *SYNTH[name], "--workers", 1)
    if not test.exists():
        fresh = ("--count", options.frames, "--seed", TEST_SEED, "--view", "exo_walk", "--workers", 1)
        command("data", "synth", "exo_assist", "--out", test, *fresh)
    if not (adapter / "run.json").is_file():
        taught = ("--data", data / "data.json", "--steps", options.sft_steps, "--out", adapter)
        command("train", "sft", "--config", recipe("exo_assist.yaml"), *taught)
    if not (out / "metrics.json").is_file():
        command("evaluate", "--adapter", adapter, "--data", test / "data.json", "--with_base", "false", "--out", out)
    scores: dict[str, float] = json.loads((out / "metrics.json").read_text())["adapter"]
    return {**scores, "confusion": confusion(out / "details.jsonl")}


def confusion(details: Path) -> dict[str, dict[str, int]]:
    """How often each terrain was taken for which; "invalid" counts answers that are none."""
    counts = {terrain: dict.fromkeys((*TERRAINS, "invalid"), 0) for terrain in TERRAINS}
    for line in details.read_text(encoding="utf-8").splitlines():
        detail = json.loads(line)
        answer = detail["adapter"]["answer"]
        counts[detail["expected"]["task"]][answer["task"] if answer else "invalid"] += 1
    return counts


def feeling(options: argparse.Namespace) -> dict[str, Any]:
    """Record walks with the device's own law, and train a policy to imitate it."""
    data, out = options.run / "demonstrations", options.run / "policy"
    walks = ("--count", options.demonstrations, "--seed", DEMONSTRATIONS_SEED, "--cameras", "[]", "--workers", 1)
    command("data", "synth", "exo_walk", "--out", data, *walks)
    if not (out / "run.json").is_file():
        steps = ("--steps", options.policy_steps, "--eval_count", 1000)
        command("train", "policy", "--config", recipe("policy_recorded.yaml"), "--data", data, "--out", out, *steps)
    scores: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return scores


class Looker:
    """A trained model that answers questions about frames, without a constraint on its text."""

    def __init__(self, adapter: Path) -> None:
        self._model, self._processor = load_tuned(adapter, read_run(adapter))
        self.asked, self.seconds = 0, 0.0

    def __call__(self, questions: Sequence[Question]) -> list[str]:
        """The answers, in their order."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            examples = []
            for number, question in enumerate(questions):
                file = Path(folder) / f"{number}.jpg"
                file.write_bytes(question.images[0])
                examples.append(Example((file,), question.prompt, "", {}))
            texts = write_answers(
                self._model,
                self._processor,
                examples,
                batch_size=len(examples),
                max_new_tokens=EXO_ASSIST.max_new_tokens,
                label="looking",
            )
        self.asked, self.seconds = self.asked + len(questions), self.seconds + time.perf_counter() - start
        return texts


def walk(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Each fresh walk in each arm, as JSON data by arm; what an earlier run finished is read."""
    policy: VLAPolicy | None = None
    looker: Looker | None = None
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for arm in ARMS:
        for number, terrain in enumerate(TERRAINS):
            first = FIRST_TEST_WALK + 1000 * number
            file = options.run / "walks" / f"{arm}-{terrain}-{options.walks}.json"
            if not file.is_file():
                policy = policy or VLAPolicy.from_pretrained(options.run / "policy")
                if arm == "together":
                    looker = looker or Looker(options.run / "vlm_walk")
                walks = [draw_walk(seed, terrain) for seed in range(first, first + options.walks)]
                write_json(file, [facts_of(each) for each in _arm(arm, walks, policy, looker)])
                print(f"{arm}: {terrain} walked", file=sys.stderr)
            found[arm] += json.loads(file.read_text(encoding="utf-8"))
    return found


def _arm(arm: str, walks: Sequence[Any], policy: VLAPolicy, looker: Answer | None) -> list[Walked]:
    if arm == "none":
        return walk_all(walks, None, None, assisted=False)
    if arm == "law":
        return walk_all(walks, Laws(walks), None)
    return walk_all(walks, Imitation(Driver(policy, len(walks))), looker if arm == "together" else None)


def facts_of(walked: Walked) -> dict[str, Any]:
    """One walk as JSON data."""
    summary = walked.summary
    assert summary is not None
    percents, right = np.array(walked.percents), np.array(walked.right)
    changes = np.abs(np.diff(percents, prepend=0.0)) * 50
    return {
        "seed": walked.walk.seed,
        "terrain": walked.walk.terrain,
        "finished": summary.finished,
        "fallen": summary.fallen,
        "net_j_per_m_kg": summary.effort.net_j / summary.effort.distance_m / walked.walk.mass_kg,
        "peak_torque_nm": summary.peak_torque_nm,
        "peak_rate_nm_s": summary.peak_rate_nm_s,
        "looks": [asdict(look) for look in walked.looks],
        "percent_off": float(np.abs(percents - right).mean()),
        "right_level_share": float(np.mean(np.array(walked.levels) == np.array(walked.right_levels))),
        "ends_at_right_level": walked.levels[-1] == walked.right_levels[-1],
        "outside_limits": int(((percents < ASSISTANCE_LIMITS[0]) | (percents > ASSISTANCE_LIMITS[1])).sum()),
        "largest_rate_percent_s": float(changes.max()),
        "percents": percents.round(2).tolist()[::5],
        "right": right.round(2).tolist()[::5],
    }


def compare(walked: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Per terrain and over all: what was seen, what percent was given, and what it was worth."""
    parts = {terrain: (terrain,) for terrain in TERRAINS} | {"all": tuple(TERRAINS)}
    chosen = {
        name: {arm: [each for each in walks if each["terrain"] in terrains] for arm, walks in walked.items()}
        for name, terrains in parts.items()
    }
    return {
        "walks": {
            name: {arm: _row(walks, arms["none"]) for arm, walks in arms.items()} for name, arms in chosen.items()
        },
        "example": {terrain: chosen[terrain]["together"][0] for terrain in TERRAINS},
    }


def _row(ours: Sequence[dict[str, Any]], none: Sequence[dict[str, Any]]) -> dict[str, Any]:
    pairs = [(a, b) for a, b in zip(ours, none, strict=True) if a["finished"] and b["finished"]]
    effort, without = (np.array([pair[side]["net_j_per_m_kg"] for pair in pairs]) for side in (0, 1))
    difference = paired_difference(effort, without)
    looks = [look for each in ours for look in each["looks"] if look["terrain"]]
    return {
        "walks": len(ours),
        "falls": sum(each["fallen"] for each in ours),
        "pairs": len(pairs),
        "net_j_per_m_kg": _median(effort),
        "without": _median(without),
        "difference": asdict(difference) if difference else None,
        "relative": _median((effort - without) / without),
        "peak_torque_nm": max(each["peak_torque_nm"] for each in ours),
        "peak_rate_nm_s": max(each["peak_rate_nm_s"] for each in ours),
        "outside_limits": sum(each["outside_limits"] for each in ours),
        "largest_rate_percent_s": max(each["largest_rate_percent_s"] for each in ours),
        "looks": len(looks),
        "ambiguous": sum(len(each["looks"]) for each in ours) - len(looks),
        "terrain_right": float(np.mean([k["task"] == k["terrain"] for k in looks])) if looks else None,
        "percent_off": float(np.mean([each["percent_off"] for each in ours])),
        "right_level_share": float(np.mean([each["right_level_share"] for each in ours])),
        "ends_at_right_level": float(np.mean([each["ends_at_right_level"] for each in ours])),
    }


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


def table(figures: Mapping[str, Any]) -> str:
    """The figures to read."""
    lines = ["terrain accuracy on fresh frames: "]
    lines[0] += ", ".join(f"{name} {scores['terrain_accuracy']:.3f}" for name, scores in figures["looking"].items())
    lines.append(
        f"{'':<16}{'':<22}{'J/(m kg)':>9}{'without':>8}{'difference, 95 %':>25}{'better':>8}{'falls':>6}{'N m':>6}"
        f"{'N m/s':>6}{'seen':>6}{'% off':>6}{'ends right':>11}"
    )
    for part, arms in figures["walks"].items():
        lines += [_line(part, title, arms[arm]) for arm, title in TITLES.items()]
    worst = [arms["together"] for arms in figures["walks"].values()]
    lines.append(
        f"percent outside {ASSISTANCE_LIMITS[0]} to {ASSISTANCE_LIMITS[1]}: {worst[-1]['outside_limits']} hops; its"
        f" fastest change {worst[-1]['largest_rate_percent_s']:.2f} a second, {RATE_PERCENT_S:g} allowed"
    )
    return "\n".join(lines)


def _line(part: str, title: str, row: Mapping[str, Any]) -> str:
    off, right = row["difference"], row["terrain_right"]
    if off is None:
        return f"{part:<16}{title:<22} no pair finished, {row['falls']} falls"
    difference = f"{off['median']:+.2f} [{off['low']:+.2f}, {off['high']:+.2f}]"
    better = f"{off['better']}/{row['pairs']}"
    return (
        f"{part:<16}{title:<22}{row['net_j_per_m_kg']:>9.2f}{row['without']:>8.2f}{difference:>25}{better:>8}"
        f"{row['falls']:>6}{row['peak_torque_nm']:>6.1f}{row['peak_rate_nm_s']:>6.0f}"
        f"{f'{right:.2f}' if right is not None else '':>6}{row['percent_off']:>6.2f}{row['ends_at_right_level']:>11.2f}"
    )


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """Differences of effort by terrain, and the percent of one walk of each beside the right one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    effort, percent = figure.subplots(1, 2)
    for shift, (arm, title) in enumerate(TITLES.items()):
        for place, terrain in enumerate(TERRAINS):
            row = figures["walks"][terrain][arm]
            if off := row["difference"]:
                ends = np.array([[off["median"] - off["low"]], [off["high"] - off["median"]]])
                effort.errorbar(place + 0.2 * (shift - 1), off["median"], ends, fmt="o", color=f"C{shift}",
                                label=None if place else title)  # fmt: skip
    effort.axhline(0, color="gray", linewidth=0.8)
    effort.set_xticks(range(len(TERRAINS)), list(TERRAINS), rotation=20)
    effort.set(ylabel="net effort minus that without help, J/(m kg)", title="below zero: help")
    effort.legend()
    for number, (terrain, each) in enumerate(figures["example"].items()):
        seconds = np.arange(len(each["percents"])) / 10
        percent.plot(seconds, each["percents"], color=f"C{number}", label=terrain)
        percent.plot(seconds, each["right"], "--", color=f"C{number}")
    percent.set(xlabel="s", ylabel="assistance, %", title="one walk each; dashed: had every answer been right")
    percent.legend()
    with written_aside(path) as aside:
        FigureCanvasAgg(figure).print_png(aside)


if __name__ == "__main__":
    sys.exit(exit_code(main))
