"""The folder of one policy run: what it holds in the end. Whose it is: ganglion.training.claim.

model.safetensors  config.json  robot.json  norm.json  vl.json  backbone/    the policy (ganglion.model.policy.folder)
best/                                     the same, of the weights that validated best
run.json                                  data, base and its hash, seed, sizes, versions; written last
config.yaml  history.json  metrics.json   resolved config, loss and rates, error on data never seen
curves.png                                loss and rates over the steps
README.md                                 model card
checkpoint.pt                             while it is unfinished
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganglion.core.paths import write_json, written_aside
from ganglion.model.backbone.tuned import TUNED
from ganglion.model.policy.folder import CONFIG, NORM, ROBOT, VL, WEIGHTS
from ganglion.training.claim import RUN_FILE
from ganglion.training.policy.checkpoint import Progress
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.curves import plot_curves
from ganglion.training.policy.learner import Learner
from ganglion.training.policy.loop import CHECKPOINT, HISTORY_FILE

METRICS_FILE, BEST, CURVES, _CARD = "metrics.json", "best", "curves.png", "README.md"
LEAVES = (
    HISTORY_FILE,
    METRICS_FILE,
    CHECKPOINT,
    BEST,
    CURVES,
    _CARD,
    WEIGHTS,
    CONFIG,
    ROBOT,
    NORM,
    VL,
    TUNED,
)


def keep_best(out: Path, learner: Learner) -> None:
    """Put the policy as it is now in the place of the best so far."""
    with written_aside(out / BEST) as aside:
        learner.policy.save_pretrained(aside)


def finish(config: PolicyTrainConfig, learner: Learner, progress: Progress, metrics: dict[str, Any]) -> None:
    """Write everything a finished run leaves; run.json comes last and says that it is finished."""
    out, source = config.out, learner.source
    learner.policy.save_pretrained(out)
    write_json(out / HISTORY_FILE, progress.history)
    write_json(out / METRICS_FILE, metrics)
    plot_curves(progress.history, out / CURVES)
    run = {
        **source.facts,
        "robot": source.robot.name,
        "size": config.size,
        "fusion": config.fusion,
        "head": config.head,
        "seed": config.seed,
        "steps": progress.step,
        "best": {"step": progress.best_step, "validation_loss": progress.best},
        "parameters": {name: sum(p.numel() for p in group) for name, group in learner.groups.items()},
        "versions": {name: version(name) for name in ("ganglion", "torch", "transformers")},
    }
    with written_aside(out / _CARD) as aside:
        aside.write_text(_card(run, learner, metrics), encoding="utf-8")
    write_json(out / RUN_FILE, run)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _card(run: dict[str, Any], learner: Learner, metrics: dict[str, Any]) -> str:
    robot, vl = learner.source.robot, learner.policy.vl
    actions = robot.actions
    sensor = robot.sensors[0] if robot.sensors and learner.network.encoder is not None else None
    feels = (
        f"{sensor.channels} channels at {sensor.rate_hz:g} Hz, window {sensor.window_samples} samples"
        if sensor
        else "none"
    )
    names = ", ".join(camera.name for camera in robot.cameras)
    sees = f"{names} through `{vl['base']}`, text layer {vl['vl_layer']}" if vl else "none"
    kinds = {"mae": "policy", "mean_mae": "mean", "last_mae": "last action"}
    kinds = {kind: name for kind, name in kinds.items() if kind in metrics}
    rows = "\n".join(
        f"| {name} | {found['unit']} | " + " | ".join(f"{found[kind]:.3g}" for kind in kinds) + " |"
        for name, found in metrics["dimensions"].items()
    )
    parameters = ", ".join(f"{name} {count:,}" for name, count in run["parameters"].items())
    return f"""# {run["robot"]}: sensor-fusion policy

Made by `ganglion train policy` by imitation, on data `{run["data"]}`.

| | |
|---|---|
| sensor | {feels} |
| cameras | {sees} |
| fusion, head | {run["fusion"]}, {run["head"]} |
| chunk | {actions.horizon} x {actions.dim}: {", ".join(actions.names)} |
| parameters that learned | {parameters} |
| steps, seed | {run["steps"]}, {run["seed"]} |

Mean absolute error on {metrics["n"]} moments of data it was not trained on, beside that of predicting the training mean
and, where it means something, of doing again what was done last:

| dimension | unit | {" | ".join(kinds.values())} |
|---|---|{"---|" * len(kinds)}
{rows}

It imitates recorded or synthetic decisions; nothing here shows that it closes a loop on a real robot.
"""
