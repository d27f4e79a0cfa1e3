"""The folder of one policy run: what it holds in the end. Whose it is: ganglion.training.claim.

model.safetensors  config.json  robot.json  norm.json  vl.json  backbone/    the policy (ganglion.model.policy.folder)
moments.safetensors                       real moments it was not trained on, for exports in fewer bits
best/                                     the same, of the weights that validated best
run.json                                  data, base and its hash, seed, sizes, versions; written last
config.yaml  history.json  metrics.json   resolved config, loss and rates, error on data never seen
curves.png                                loss and rates over the steps
README.md                                 model card
checkpoint.pt                             while it is unfinished
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganglion.core.paths import write_json, written_aside
from ganglion.model.backbone.tuned import TUNED
from ganglion.model.policy.folder import CONFIG, NORM, ROBOT, VL, WEIGHTS
from ganglion.model.policy.kept_moments import MOMENTS
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.claim import RUN_FILE
from ganglion.training.policy.card import model_card
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
    MOMENTS,
)


def keep_best(out: Path, learner: Learner) -> None:
    """Put the policy as it is now in the place of the best so far."""
    with written_aside(out / BEST) as aside:
        learner.policy.save_pretrained(aside)


def best_so_far(out: Path, learner: Learner) -> Learner:
    """The learner with the weights that `keep_best` kept; a backbone that doesn't learn is shared."""
    backbone = learner.policy.backbone
    tuned = backbone is not None and backbone.tuned.mode != "none"
    policy = VLAPolicy.from_pretrained(out / BEST, device=learner.device, backbone=tuned)
    return replace(learner, policy=policy if tuned else replace(policy, backbone=backbone))


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
        "parameters": learner.parameter_counts(),
        "versions": {name: version(name) for name in ("ganglion", "torch", "transformers")},
    }
    with written_aside(out / _CARD) as aside:
        aside.write_text(model_card(run, learner, metrics), encoding="utf-8")
    write_json(out / RUN_FILE, run)
    (out / CHECKPOINT).unlink(missing_ok=True)
