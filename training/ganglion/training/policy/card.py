"""The model card that lies beside a policy, in the hub's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganglion.training.policy.learner import Learner
from ganglion.training.policy.scoring import error_columns


def model_card(run: Mapping[str, Any], learner: Learner, metrics: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        run: what run.json says.
        learner: as it has learned.
        metrics: what metrics.json says.
    """
    actions, parameters = learner.source.robot.actions, run["parameters"].items()
    data = run["data"] if isinstance(run["data"], str) else ", ".join(run["data"])
    return f"""---
library_name: ganglion
pipeline_tag: robotics
tags: [ganglion, imitation-learning, {run["fusion"]}, {run["head"]}]
---
# {run["robot"]}: sensor-fusion policy

Made by `ganglion train policy` by imitation, on data `{data}`.

| | |
|---|---|
| sensor | {_feels(learner)} |
| cameras | {_sees(learner)} |
| fusion, head | {run["fusion"]}, {run["head"]} |
| chunk | {actions.horizon} x {actions.dim}: {", ".join(actions.names)} |
| parameters | {", ".join(f"{name} {count:,}" for name, count in parameters)} |
| steps, seed | {run["steps"]}, {run["seed"]} |
{_errors(metrics)}
It imitates recorded or synthetic decisions; nothing here shows that it closes a loop on a real robot.
"""


def _feels(learner: Learner) -> str:
    if learner.network.encoder is None:
        return "none"
    sensor = learner.source.robot.sensors[0]
    return f"{sensor.channels} channels at {sensor.rate_hz:g} Hz, window {sensor.window_samples} samples"


def _sees(learner: Learner) -> str:
    if (vl := learner.policy.vl) is None:
        return "none"
    cameras = ", ".join(camera.name for camera in learner.source.robot.cameras)
    return f"{cameras} through `{vl['base']}`, text layer {vl['vl_layer']}"


def _errors(metrics: Mapping[str, Any]) -> str:
    """The table of errors, where there are any."""
    if not metrics["n"]:
        return "\nNo data was held back to score it on.\n"
    columns = error_columns(metrics)
    rows = "\n".join(
        f"| {name} | {found['unit']} | " + " | ".join(f"{column[name]:.3g}" for column in columns.values()) + " |"
        for name, found in metrics["dimensions"].items()
    )
    return f"""
Mean absolute error on {metrics["n"]} moments of data it was not trained on, beside that of predicting the training mean
and, where it means something, of doing again what was done last:

| dimension | unit | {" | ".join(columns)} |
|---|---|{"---|" * len(columns)}
{rows}
"""
