"""`ganglion train policy`: imitation by L1 regression, resumed where it was left, scored on data never trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganglion.training.policy.config import SYNTHETIC, PolicyTrainConfig, binding, checked, resolved

if TYPE_CHECKING:
    from ganglion.training.policy.source import Source


def run(config: PolicyTrainConfig) -> None:
    """Train as the config says, and print where the policy is and how far off it is."""
    metrics = train_policy(config)
    print(f"policy in {config.out}; mean absolute error {metrics['mae']:.3f}, of the mean {metrics['mean_mae']:.3f}")
    for name, found in metrics["dimensions"].items():
        print(f"  {name:<6} {found['mae']:9.4f} {found['mean_mae']:9.4f} {found['unit']}")


def train_policy(config: PolicyTrainConfig) -> dict[str, Any]:
    """Train, or go on with an interrupted run, or find it finished; returns its metrics.

    Raises:
        InputError: an option or the data is bad, or the folder holds another run. Nothing was trained.
        GanglionError: the loss is no longer finite, or the disk is full.
    """
    config = checked(config)
    import json

    import torch

    from ganglion.model.policy.config import policy_config
    from ganglion.model.policy.policy import VLAPolicy
    from ganglion.training.claim import claim
    from ganglion.training.policy.optimization import make_optimizer
    from ganglion.training.policy.run_folder import CHECKPOINT, LEAVES, METRICS_FILE, finish
    from ganglion.training.policy.scoring import score

    if config.threads:
        torch.set_num_threads(config.threads)
    wanted = {**binding(config), **_identity(config)}
    if claim(config.out, wanted, resolved(config), LEAVES, config.force):
        print(f"{config.out} holds this run, finished; --force trains it again")
        found: dict[str, Any] = json.loads((config.out / METRICS_FILE).read_text(encoding="utf-8"))
        return found
    source = _source(config)
    torch.manual_seed(config.seed)
    policy = VLAPolicy(policy_config(source.robot, config.size, vl_width=source.vl_width))  # type: ignore[arg-type]  # checked above
    history = _train(policy, make_optimizer(policy, config), source, config, config.out / CHECKPOINT)
    metrics = score(policy, source)
    finish(config, policy, source, history, metrics)
    return metrics


def _train(
    policy: Any, optimizer: Any, source: Source, config: PolicyTrainConfig, checkpoint: Path
) -> list[dict[str, float]]:
    from tqdm import trange

    from ganglion.training.policy.optimization import (
        learning_rate,
        load_checkpoint,
        save_checkpoint,
        train_step,
        use_bfloat16,
    )

    steps, progress = config.steps, load_checkpoint(checkpoint, policy, optimizer)
    bfloat16, done = use_bfloat16(config.precision), progress.step
    policy.train()
    for step in (bar := trange(done, steps, initial=done, total=steps, desc="policy", disable=not sys.stderr.isatty())):
        rate = learning_rate(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        progress.losses.append(train_step(policy, optimizer, source.batch(step), bfloat16))
        progress.step = step + 1
        if progress.step % config.logging_steps == 0 or progress.step == steps:
            loss = sum(progress.losses) / len(progress.losses)
            progress.history.append({"step": progress.step, "loss": loss, "learning_rate": rate})
            progress.losses.clear()
            bar.set_postfix(loss=f"{loss:.3f}")
        if progress.step % config.save_steps == 0 and progress.step < steps:
            save_checkpoint(checkpoint, progress, policy, optimizer)
    return progress.history


def _source(config: PolicyTrainConfig) -> Source:
    if config.data == SYNTHETIC:
        from ganglion.training.policy.synthetic import NeedleSource

        return NeedleSource(config)
    from ganglion.training.policy.oct_volumes import OctSource

    return OctSource(config)


def _identity(config: PolicyTrainConfig) -> dict[str, str]:
    """Hashes of what the config only names: the base's weights, or the volumes."""
    if config.data == SYNTHETIC:
        from ganglion.model.checkpoint import base_hash, resolve_base

        return {"base_hash": base_hash(resolve_base(config.base))}
    from ganglion.core.bundle import sha256_tree

    return {"data_hash": sha256_tree(Path(config.data))}
