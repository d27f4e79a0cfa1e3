"""An estimate in words, and what to change where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ganglion.training.estimate import fewer_pixels, fit, search, smaller_batches, table
from ganglion.training.sft.estimate.estimate import Estimate, estimate
from ganglion.training.sft.estimate.plan import Plan


def estimate_lines(found: Estimate, advice: str | None = None) -> list[str]:
    """Lines for a terminal.

    Args:
        found: the estimate.
        advice: from `remedy`, where it does not fit.
    """
    plan, device, parts = found.plan, found.device, found.activations
    rows = [
        ("frozen weights, quantized", found.weights.linears_quantized),
        ("frozen weights, other layers", found.weights.linears),
        ("embeddings and output head", found.weights.embeddings + found.weights.head),
        ("norms, biases, patch embedding", found.weights.others),
        ("adapter", found.adapter),
        ("gradients", found.gradients),
        ("optimizer", found.optimizer),
        ("activations", parts.kept + parts.inputs),
        ("logits or a layer's backward pass", max(parts.logits, parts.working)),
        *([("file of the checkpoint, still mapped", found.file_pages)] if found.file_pages else []),
        ("context and allocator" if device.is_gpu else "process without the model", found.overhead),
        ("peak", found.total),
    ]
    lines = [
        f"{found.parameters / 1e6:,.1f} M parameters, {found.trainable / 1e6:,.2f} M trained; "
        f"{plan.batch_size} x {found.tokens_per_row:,} tokens a pass, {found.image_tokens:,} of a row's from images",
        *table(rows),
        *fit(found),
    ]
    return [*lines, advice] if advice else lines


def remedy(base: Any, found: Estimate) -> str | None:
    """One line that says which options make a plan fit that does not; None where it fits.

    Options are changed one after the other, those that change what is learned least first, until it fits.
    """
    if found.fits:
        return None
    left_out = [*[_eight_bit] * (not found.device.is_gpu), *[_fewer_pixels] * (not found.image_tokens)]
    steps = [step for step in _STEPS if step not in left_out]
    return search(found.plan, steps, lambda plan: estimate(base, plan, found.device), _changes)


def _checkpointing(plan: Plan) -> Iterator[Plan]:
    if not plan.gradient_checkpointing:
        yield replace(plan, gradient_checkpointing=True)


def _smaller_batch(plan: Plan) -> Iterator[Plan]:
    for size, accumulation in smaller_batches(plan.batch_size, plan.accumulation):
        yield replace(plan, batch_size=size, accumulation=accumulation)


def _nf4(plan: Plan) -> Iterator[Plan]:
    if plan.quantization != "nf4":
        yield replace(plan, quantization="nf4")


def _eight_bit(plan: Plan) -> Iterator[Plan]:
    if plan.optimizer == "adamw":
        yield replace(plan, optimizer="adamw_8bit")


def _fewer_pixels(plan: Plan) -> Iterator[Plan]:
    pixels = min(plan.image_size[0] * plan.image_size[1], plan.max_pixels or 2**62)
    for fewer in fewer_pixels(pixels):
        yield replace(plan, max_pixels=fewer)


_STEPS: tuple[Callable[[Plan], Iterator[Plan]], ...] = (
    _checkpointing,
    _smaller_batch,
    _nf4,
    _eight_bit,
    _fewer_pixels,
)
_OPTIONS = {"optimizer": "optim.name"}  # of `ganglion train sft`, where they are not called as the plan's


def _changes(before: Plan, after: Plan) -> str:
    """The options that differ, as they are given on the command line."""
    names = ("gradient_checkpointing", "batch_size", "accumulation", "quantization", "optimizer", "max_pixels")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return " ".join(f"--{_OPTIONS.get(name, name)} {str(getattr(after, name)).lower()}" for name in changed)
