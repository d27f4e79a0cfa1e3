"""The training loop: steps over batches of all processes, a history, checkpoints, and the best weights so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from tqdm import tqdm

from ganglion.core.paths import write_json
from ganglion.training.policy.batch import Batch, losses, with_noise
from ganglion.training.policy.checkpoint import Progress, load_checkpoint, save_checkpoint
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.learner import Learner
from ganglion.training.policy.optimization import add_up, make_optimizer, set_rates, take_step, use_bfloat16
from ganglion.training.policy.schedule import Schedule
from ganglion.training.policy.source import Source
from ganglion.training.processes import is_main, process_count, process_number, wait_for_all

CHECKPOINT, HISTORY_FILE = "checkpoint.pt", "history.json"
_NOISE, _VALIDATION_NOISE, _DROPOUT = 13, 14, 15  # streams of random numbers


def train(learner: Learner, config: PolicyTrainConfig, schedule: Schedule, keep_best: Callable[[], None]) -> Progress:
    """Take all the steps that are left.

    Args:
        learner: see Learner.
        config: of the run.
        schedule: its rates and how many steps there are.
        keep_best: called when weights validated better than any before.

    Raises:
        GanglionError: the loss is no longer finite, a checkpoint is damaged, or the disk is full.
    """
    optimizer, parameters = make_optimizer(learner.groups, config.optim), learner.parameters()
    progress = load_checkpoint(config.out / CHECKPOINT, parameters, optimizer, learner.device)
    bar = tqdm(
        initial=progress.step, total=schedule.steps, desc="policy", disable=not (is_main() and sys.stderr.isatty())
    )
    batches = _ahead(learner.source, config, range(progress.step, schedule.steps))
    learner.learn(True)
    for step in range(progress.step, schedule.steps):
        rates = set_rates(optimizer, config.optim, schedule, step, progress.resumed)
        entry = _gradients(learner, config, step, batches)
        entry["gradient_norm"] = take_step(optimizer, entry["loss"], config.optim.max_grad_norm)
        progress.since.append(entry)
        progress.step = step + 1
        progress.epoch_sum += entry["loss"]
        last = progress.step == schedule.steps
        if progress.step % config.logging_steps == 0 or last:
            _log(progress, rates, learner.device)
            bar.set_postfix(loss=f"{progress.history[-1]['loss']:.3f}")
        if schedule.epoch_steps and progress.step % schedule.epoch_steps == 0:
            _log_epoch(progress, schedule.epoch_steps)
        if last or (config.validation_steps and progress.step % config.validation_steps == 0):
            _validate(learner, config, progress, keep_best)
        if is_main() and (progress.step % config.save_steps == 0 or last):
            save_checkpoint(config.out / CHECKPOINT, progress, parameters, optimizer)
            write_json(config.out / HISTORY_FILE, progress.history)
        bar.update()
    bar.close()
    return progress


def _gradients(learner: Learner, config: PolicyTrainConfig, step: int, batches: Iterator[Batch]) -> dict[str, float]:
    """Leave this process's part of a step's gradients; returns what is logged of the step, over all processes."""
    count = config.accumulation * process_count()
    total = sum(learner.source.weight(number) for number in range(step * count, (step + 1) * count))
    told = torch.zeros(5, device=learner.device)  # weighted loss, felt rows, rows, sum of gates, their number
    for number in _own(config, step):
        torch.manual_seed(hash((config.seed, _DROPOUT, number)) % 2**63)
        batch = next(batches).to(learner.device)
        with autocast(config, learner.device):
            off, gates = losses(learner.network, learner.see(batch))
        loss = (off * batch.weight).sum() / total
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        told[0] += loss.detach()
        told[1] += 0 if batch.felt is None else batch.felt.sum()
        told[2] += len(batch.weight)
        if gates is not None:
            told[3] += gates.detach().float().sum()
            told[4] += gates.numel()
    add_up([told])
    entry = {"loss": float(told[0]), "sensor_share": float(told[1] / told[2])}
    return {**entry, "gate": float(told[3] / told[4])} if told[4] else entry


def autocast(config: PolicyTrainConfig, device: torch.device) -> Any:
    """Matrix products in bfloat16 where the config and the hardware say so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16(config.precision, device))


@torch.no_grad()
def validation_loss(learner: Learner, config: PolicyTrainConfig) -> float | None:
    """Mean loss over what was set aside to choose weights by; None where nothing was."""
    learner.learn(False)
    total, weight = 0.0, 0.0
    for number, batch in enumerate(learner.source.held_back("validation")):
        batch = prepared(batch, config, (config.seed, _VALIDATION_NOISE, number)).to(learner.device)
        with autocast(config, learner.device):
            off, _ = losses(learner.network, learner.see(batch))
        total += float((off * batch.weight).sum())
        weight += float(batch.weight.sum())
    learner.learn(True)
    return total / weight if weight else None


def prepared(batch: Batch, config: PolicyTrainConfig, seed: tuple[int, ...]) -> Batch:
    """The batch with what a flow starts from, where the head is one."""
    return with_noise(batch, seed) if config.head == "flow" else batch


def _validate(learner: Learner, config: PolicyTrainConfig, progress: Progress, keep_best: Callable[[], None]) -> None:
    """Every process validates by itself: it takes no longer, and all agree on which weights are best."""
    loss = validation_loss(learner, config)
    if loss is None:
        return
    progress.history.append({"step": progress.step, "validation_loss": loss})
    if progress.best is None or loss < progress.best:
        progress.best, progress.best_step = loss, progress.step
        if is_main():
            keep_best()
    wait_for_all()


def _own(config: PolicyTrainConfig, step: int) -> range:
    """Numbers of the batches of a step that are this process's."""
    count = config.accumulation * process_count()
    return range(step * count + process_number(), (step + 1) * count, process_count())


def _ahead(source: Source, config: PolicyTrainConfig, steps: range) -> Iterator[Batch]:
    """This process's batches in their order, each read while the one before it is learned from."""

    def read(number: int) -> Batch:
        return prepared(source.batch(number), config, (config.seed, _NOISE, number))

    numbers = (number for step in steps for number in _own(config, step))
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for number in numbers:
            waiting, ready = pool.submit(read, number), waiting
            if ready is not None:
                yield ready.result()
        if waiting is not None:
            yield waiting.result()


def _log(progress: Progress, rates: dict[str, float], device: torch.device) -> None:
    names = sorted({name for entry in progress.since for name in entry})
    means = {name: sum(e[name] for e in progress.since) / len(progress.since) for name in names}
    memory = {"memory_mb": memory_mb(device)}
    progress.history.append({"step": progress.step, **means, "learning_rates": rates, **memory})
    progress.since.clear()


def _log_epoch(progress: Progress, steps: int) -> None:
    """What is learned in an epoch is learned while it lasts: its loss is the mean over its steps, each as it was."""
    entry = {"step": progress.step, "epoch": progress.step // steps, "epoch_loss": progress.epoch_sum / steps}
    progress.history.append(entry)
    progress.epoch_sum = 0.0


def memory_mb(device: torch.device) -> float:
    """Most memory so far: of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
