"""`ganglion train policy`: imitation, resumed where it was left, scored on data never trained on."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import InputError
from ganglion.training.claim import claim
from ganglion.training.policy.config import PolicyTrainConfig, binding, checked, resolved
from ganglion.training.processes import is_main, join, main_first, process_count, wait_for_all

if TYPE_CHECKING:
    from ganglion.training.policy.schedule import Schedule
    from ganglion.training.policy.source import Source


def run(config: PolicyTrainConfig) -> None:
    """Train as the config says, and print where the policy is and how far off it is; or print what that would take."""
    if config.estimate:
        from ganglion.training.policy.foresee import foresee

        print("\n".join(foresee(checked(config))))
        return
    from ganglion.training.policy.scoring import error_table

    metrics = train_policy(config)
    if not is_main():
        return
    if not metrics["n"]:
        print(f"policy in {config.out}; nothing was held back to score it on")
        return
    print(f"policy in {config.out}; mean absolute error on {metrics['n']} moments it never saw:")
    print("\n".join(error_table(metrics)))


def train_policy(config: PolicyTrainConfig) -> dict[str, Any]:
    """Train, or go on with an interrupted run, or find it finished; returns its metrics.

    Raises:
        InputError: an option or the data is bad, or the folder holds another run. Nothing was trained.
        GanglionError: the loss is no longer finite, or the disk is full.
    """
    config = checked(config)
    import torch

    from ganglion.model.vlm import preferred_device
    from ganglion.training.policy.keep_moments import keep_moments
    from ganglion.training.policy.learner import make_learner
    from ganglion.training.policy.loop import train
    from ganglion.training.policy.run_folder import BEST, LEAVES, METRICS_FILE, best_so_far, finish, keep_best
    from ganglion.training.policy.scoring import score
    from ganglion.training.policy.sources import check_data, identity, open_source

    if config.threads:
        torch.set_num_threads(config.threads)
    check_data(config)
    device = preferred_device()
    join(cpu=device.type == "cpu")
    with main_first():
        wanted = {**binding(config), **identity(config), "processes": process_count()}
        finished = claim(config.out, wanted, resolved(config), LEAVES, config.force and is_main())
    if finished:
        if is_main():
            print(f"{config.out} holds this run, finished; --force trains it again")
        found: dict[str, Any] = json.loads((config.out / METRICS_FILE).read_text(encoding="utf-8"))
        return found
    source, backbone, instruction = open_source(config, device)
    learner = make_learner(config, source, backbone, instruction, device)
    if is_main():
        counts = ", ".join(f"{name} {count:,}" for name, count in learner.parameter_counts().items())
        print(f"{config.out}: parameters: {counts}")
    progress = train(learner, config, make_schedule(config, source), lambda: keep_best(config.out, learner))
    metrics = score(learner, config)
    if 0 < progress.best_step < progress.step:
        best = best_so_far(config.out, learner)
        metrics["best"] = {"step": progress.best_step, **score(best, config)}
        if is_main():
            keep_moments(best, config.out / BEST)
    if is_main():
        keep_moments(learner, config.out)
        finish(config, learner, progress, metrics)
    wait_for_all()
    return metrics


def make_schedule(config: PolicyTrainConfig, source: Source) -> Schedule:
    """How many steps there are, and the rate of each.

    Raises:
        InputError: the data has no epochs, and no steps were given.
    """
    from ganglion.training.policy.schedule import Schedule

    length = getattr(source, "epoch_length", None)
    per_step = config.batch_size * config.accumulation * process_count()
    if config.steps is None and length is None:
        raise InputError("this data has no epochs", remedy="add --steps")
    epoch = math.ceil(length / per_step) if length else None
    optim = config.optim
    return Schedule(
        steps=config.steps or max(1, round(config.epochs * (epoch or 1))),
        warmup=optim.warmup,
        hold=optim.hold,
        floor=optim.lr_end,
        epoch_steps=epoch,
        by_epoch=optim.unit == "epoch",
        rewarm_steps=optim.rewarm_steps,
    )
