"""The folder of one policy run: what it holds in the end. Whose it is: ganglion.training.claim.

model.safetensors  config.json            the policy
robot.json  norm.json                     what its numbers mean
run.json                                  data, base and its hash, instruction, seed, versions; written last
config.yaml  history.json  metrics.json   resolved config, loss curve, error on data never seen
README.md                                 model card
checkpoint.pt                             while it is unfinished
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from ganglion.core.normalization import write_normalization
from ganglion.core.paths import write_json, written_aside
from ganglion.core.specs import to_dict
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.claim import RUN_FILE
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.source import Source

HISTORY_FILE, METRICS_FILE, CHECKPOINT, _CARD = "history.json", "metrics.json", "checkpoint.pt", "README.md"
LEAVES = (
    *(HISTORY_FILE, METRICS_FILE, CHECKPOINT, _CARD),
    *("model.safetensors", "config.json", "robot.json", "norm.json"),
)


def finish(
    config: PolicyTrainConfig,
    policy: VLAPolicy,
    source: Source,
    history: list[dict[str, float]],
    metrics: dict[str, Any],
) -> None:
    """Write everything a finished run leaves; run.json comes last and says that it is finished."""
    out = config.out
    policy.save_pretrained(out)
    write_json(out / "robot.json", to_dict(source.robot))
    write_normalization(out / "norm.json", source.norm)
    write_json(out / HISTORY_FILE, history)
    write_json(out / METRICS_FILE, metrics)
    run = {
        **source.facts,
        "robot": source.robot.name,
        "size": config.size,
        "vl_age_ms": list(config.vl_age_ms),
        "seed": config.seed,
        "steps": config.steps,
        "encoder_parameters": sum(p.numel() for p in policy.encoder.parameters()),
        "expert_parameters": sum(p.numel() for p in policy.expert.parameters()),
        "versions": {name: version(name) for name in ("ganglion", "torch", "transformers")},
    }
    with written_aside(out / _CARD) as aside:
        aside.write_text(_card(run, source, metrics), encoding="utf-8")
    write_json(out / RUN_FILE, run)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _card(run: dict[str, Any], source: Source, metrics: dict[str, Any]) -> str:
    sensor, actions = source.robot.sensors[0], source.robot.actions
    rows = "\n".join(
        f"| {name} | {found['unit']} | {found['mae']:.3g} | {found['mean_mae']:.3g} |"
        for name, found in metrics["dimensions"].items()
    )
    sees = f"frames through `{run['base']}`, text layer {run['vl_layer']}" if source.vl_width else "no camera"
    return f"""# {run["robot"]}: sensor-fusion policy

Made by `ganglion train policy` by imitation, on data `{run["data"]}`.

| | |
|---|---|
| sensor | {sensor.channels} channels at {sensor.rate_hz:g} Hz, window {sensor.window_samples} samples |
| camera | {sees} |
| chunk | {actions.horizon} x {actions.dim}: {", ".join(actions.names)} |
| parameters | encoder {run["encoder_parameters"]:,}, expert {run["expert_parameters"]:,} |
| steps, seed | {run["steps"]}, {run["seed"]} |

Mean absolute error on {metrics["n"]} windows of data it was not trained on, beside that of the training mean:

| dimension | unit | policy | mean |
|---|---|---|---|
{rows}

It imitates recorded or synthetic decisions; nothing here shows that it closes a loop on a real robot.
"""
