"""A policy run's estimate in words, and what to change where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ganglion.training.estimate import fewer_pixels, fit, search, smaller_batches, table
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.estimate.estimate import Estimate, estimate
from ganglion.training.policy.estimate.shapes import Shapes

Step = Callable[[PolicyTrainConfig], Iterator[PolicyTrainConfig]]


def estimate_lines(found: Estimate, advice: str | None = None) -> list[str]:
    """Lines for a terminal.

    Args:
        found: the estimate.
        advice: from `remedy`, where it does not fit.
    """
    parameters = ", ".join(f"{name} {count / 1e6:,.2f} M" for name, count in found.step.parameters.items())
    parts = {name: size for name, size in found.parts.items() if size}
    peaks = {"peak of a step": sum(parts.values()), **found.others}
    lines = [f"parameters: {parameters}", *table([*parts.items(), *peaks.items()]), *fit(found)]
    return [*lines, advice] if advice else lines


def remedy(config: PolicyTrainConfig, shapes: Shapes, found: Estimate) -> str | None:
    """One line that says which options make a run fit that does not; None where it fits.

    Options are changed one after the other, those that change what is learned least first, until it fits.
    """
    if found.fits:
        return None
    steps: list[Step] = [_smaller_batch]
    if shapes.robot.cameras and not config.caches:
        largest = max(camera.width * camera.height for camera in shapes.robot.cameras)
        steps = [_checkpointing, *steps, lambda options: _fewer_pixels(options, largest)]
    return search(config, steps, lambda options: estimate(options, shapes), _changes)


def _checkpointing(config: PolicyTrainConfig) -> Iterator[PolicyTrainConfig]:
    if config.vl.finetune != "none" and not config.vl.gradient_checkpointing:
        yield replace(config, vl=replace(config.vl, gradient_checkpointing=True))


def _smaller_batch(config: PolicyTrainConfig) -> Iterator[PolicyTrainConfig]:
    for size, accumulation in smaller_batches(config.batch_size, config.accumulation):
        yield replace(config, batch_size=size, accumulation=accumulation)


def _fewer_pixels(config: PolicyTrainConfig, largest: int) -> Iterator[PolicyTrainConfig]:
    for fewer in fewer_pixels(min(largest, config.vl.max_pixels or largest)):
        yield replace(config, vl=replace(config.vl, max_pixels=fewer))


def _changes(before: PolicyTrainConfig, after: PolicyTrainConfig) -> str:
    """The options that differ, as they are given on the command line."""
    options = [
        ("--vl.gradient_checkpointing", before.vl.gradient_checkpointing, after.vl.gradient_checkpointing),
        ("--batch_size", before.batch_size, after.batch_size),
        ("--accumulation", before.accumulation, after.accumulation),
        ("--vl.max_pixels", before.vl.max_pixels, after.vl.max_pixels),
    ]
    return " ".join(f"{name} {str(now).lower()}" for name, then, now in options if now != then)
