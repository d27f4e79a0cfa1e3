"""report.html: the figures of report.json with plots and sample answers, in one file that needs nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ganglion.core.datafile import read_datafile
from ganglion.core.paths import written_aside
from ganglion.core.specs import robot_from_dict
from ganglion.core.tasks import Example, get_task
from ganglion.demo.quickstart import plots
from ganglion.demo.quickstart.figures import read_json, served_answers
from ganglion.demo.quickstart.plan import TASK, Layout

_SAMPLES = 8


def write_page(at: Layout, report: Mapping[str, Any], out: Path) -> None:
    """Write the page for a finished quickstart."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.get_template("report.html.jinja").render(
        report=report,
        tiles=_tiles(report),
        samples=_samples(at) if "exo" in report else [],
        exo_rows=_exo_rows(report["exo"]) if "exo" in report else [],
        policy_note=_policy_note(report),
        bridge_note=_bridge_note(report["bridge"]),
        legs=report["bridge"]["legs_ms"],
        plots={name: Markup(svg) for name, svg in _plots(at, report).items()},
    )
    with written_aside(out) as aside:
        aside.write_text(text, encoding="utf-8")


def _tiles(report: Mapping[str, Any]) -> list[dict[str, str]]:
    bridge, parity, tiles = report["bridge"], report["parity"], []
    if exo := report.get("exo"):
        tiles += [
            _tile(f"{exo['terrain_accuracy']:.1%}", f"terrain right (untuned base {exo['base_terrain_accuracy']:.1%})"),
            _tile(f"{exo['json_valid_rate']:.1%}", "answers valid JSON"),
            _tile(f"{exo['delta_sign_accuracy']:.1%}", "change in the right direction"),
        ]
    if pose := bridge.get("pose"):
        tiles.append(_tile(f"{pose['mae'] / pose['mean_mae']:.2f} x", "pose error against predicting the mean"))
    worst = max(value for name, value in parity.items() if name.endswith("max_abs"))
    action = bridge["hop_to_action_ms"]
    return [
        *tiles,
        _tile(f"{worst:.0e}", "largest difference between stages"),
        _tile(f"{action['p50']:.2f} ms", f"hop to action, p99 {action['p99']:.2f} ms"),
        _tile(f"{bridge['samples_lost']}", f"samples lost of {bridge['samples_expected']}"),
    ]


def _tile(value: str, label: str) -> dict[str, str]:
    return {"value": value, "label": label}


def _samples(at: Layout) -> list[dict[str, Any]]:
    examples = read_datafile(at.eval_data / "data.json", get_task(TASK))
    answers = served_answers(at)
    return [_sample(example, answers[index]) for index, example in enumerate(examples[:_SAMPLES])]


def _sample(example: Example, answer: str) -> dict[str, Any]:
    expected = json.loads(example.answer)
    return {
        "image": base64.b64encode(example.images[0].read_bytes()).decode(),
        "feedback": example.row["user_feedback"],
        "previous": example.row["previous_assistance"],
        "answer": answer,
        "expected": expected,
        "expected_text": f"{expected['task']}, {expected['assistance_delta']:+d}",
        "equal": json.loads(answer) == expected,
    }


def _exo_rows(exo: Mapping[str, Any]) -> list[Sequence[str]]:
    names = [name for name in exo["trained"] if name != "n"]
    return [(name.replace("_", " "), *(_cell(exo[p], name) for p in ("trained", "served", "base"))) for name in names]


def _cell(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.2f} points" if name.endswith("mae") else f"{metrics[name]:.1%}"


def _policy_note(report: Mapping[str, Any]) -> str:
    data = "held-back OCT volumes" if report["config"]["sensor_data"] else "fresh seeds of the synthetic stream"
    return (
        f"Mean absolute error of each dimension on {report['policy']['n']} windows from {data}, as a share of what "
        "predicting the training mean gives."
    )


def _bridge_note(bridge: Mapping[str, Any]) -> str:
    return (
        f"{bridge['samples_received']} samples arrived, {bridge['samples_lost']} were lost; {bridge['hops']} hops, "
        f"{bridge['deadline_misses']} of them answered later than one hop. Sender scheduled as {bridge['scheduler']}."
    )


def _plots(at: Layout, report: Mapping[str, Any]) -> dict[str, str]:
    robot = robot_from_dict(read_json(at.policy / "robot.json"))
    sensor = robot.sensors[0]
    histories = {"sensor policy": read_json(at.policy / "history.json")}
    if "exo" in report:
        histories = {"exo_assist (QLoRA)": read_json(at.adapter / "history.json"), **histories}
    dimensions = report["policy"]["dimensions"]
    ours, mean = ([found[kind] for found in dimensions.values()] for kind in ("mae", "mean_mae"))
    with np.load(at.stream / "trace.npz", allow_pickle=False) as trace:
        latency, window = trace["hop_to_action_ms"], trace["window"]
    groups = [(group.name, group.channels, group.unit) for group in sensor.groups]
    return {
        "training": plots.training_curves(histories),
        "policy": plots.errors_beside_baseline(list(dimensions), ours, mean),
        "latency": plots.latency_histogram(latency, sensor.hop_ms),
        "window": plots.sensor_window(window, sensor.rate_hz, groups),
    }
