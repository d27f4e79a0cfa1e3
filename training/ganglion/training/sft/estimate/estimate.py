"""The whole estimate: bytes by part, operations, seconds per optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.training.estimate import Device, image_tokens, read_config
from ganglion.training.sft.estimate.activations import Activations, Batch, activations
from ganglion.training.sft.estimate.flops import batch_flops
from ganglion.training.sft.estimate.plan import DTYPE_BYTES, Plan
from ganglion.training.sft.estimate.skeleton import Skeleton, build_skeleton
from ganglion.training.sft.estimate.weights import Weights, file_bytes, frozen_weights, optimizer_bytes


@dataclass(frozen=True)
class Estimate:
    """What a plan takes on a device. Bytes, but for what is named otherwise; per process in data-parallel training."""

    plan: Plan
    device: Device
    parameters: int
    """Weights of the base, tied ones once."""
    trainable: int
    """Weights of the adapter."""
    weights: Weights
    adapter: int
    gradients: int
    optimizer: int
    activations: Activations
    file_pages: int
    """Of a quantized checkpoint on a CPU: the file it was read from stays mapped. The system can take these back."""
    overhead: int
    """Of the process or of the GPU's context, and what the allocator loses."""
    tokens_per_row: int
    image_tokens: int
    """Of one row, in all its images."""
    step_flops: int
    """Of one optimizer step, in each process."""

    @property
    def total(self) -> int:
        """The peak."""
        return (
            self.weights.total
            + self.adapter
            + self.gradients
            + self.optimizer
            + self.activations.peak
            + self.file_pages
            + self.overhead
        )

    @property
    def step_seconds(self) -> float:
        """Of one optimizer step, without loading data: operations over the device's, as far as it reaches them."""
        return self.step_flops / (self.device.flops * self.device.efficiency)

    @property
    def fits(self) -> bool:
        """Whether the peak is within the device's memory."""
        return self.total <= self.device.memory_bytes

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        sums = {
            "total_bytes": self.total,
            "activations_peak_bytes": self.activations.peak,
            "step_seconds": self.step_seconds,
            "fits": self.fits,
        }
        return {**asdict(self), **sums}


def estimate(base: str | Path | Mapping[str, Any] | Any, plan: Plan, device: Device) -> Estimate:
    """Estimate `plan` for a base of which only the config is read.

    Args:
        base: a hub name, a folder, offline:FAMILY, a config as a dict, or a transformers config.
        plan: what is to be done.
        device: on what.

    Raises:
        InputError: no such base, or the plan does not suit it.
    """
    config = read_config(base) if isinstance(base, (str, Path, Mapping)) else base
    model = build_skeleton(config, _checked(plan))
    batch, of_images = _batch(model, plan)
    weights = frozen_weights(model, plan)
    trainable = sum(model.adapter)
    # PEFT keeps adapters in float32. Autocast makes a 16-bit copy of them for each pass; DDP copies gradients.
    copies = trainable * DTYPE_BYTES[plan.dtype] if plan.autocast and plan.dtype != "float32" else 0
    parts = activations(model, plan, batch, device.is_gpu)
    gradients = trainable * 4 * (2 if plan.world_size > 1 else 1)
    moments = optimizer_bytes(model.adapter, plan.optimizer)
    # On a CPU, training maps large blocks where it checkpoints (ganglion.training.heap): none are lost.
    slack = device.slack if device.is_gpu or not plan.gradient_checkpointing else 0.0
    return Estimate(
        plan=plan,
        device=device,
        parameters=model.parameters,
        trainable=trainable,
        weights=weights,
        adapter=trainable * 4 + copies,
        gradients=gradients,
        optimizer=moments,
        activations=parts,
        file_pages=0 if device.is_gpu else file_bytes(model, plan),
        overhead=device.overhead_bytes + int(slack * parts.peak),
        tokens_per_row=batch.length,
        image_tokens=of_images,
        step_flops=plan.accumulation * batch_flops(model, plan, batch),
    )


def _batch(model: Skeleton, plan: Plan) -> tuple[Batch, int]:
    """The tensors of one pass, and how many tokens of a row are its images'."""
    labeled = plan.answer_tokens + 1  # the token before an answer predicts its first
    if model.vision is None or not plan.images:
        return Batch(plan.batch_size, plan.text_tokens, 0, 0, labeled), 0
    one = image_tokens(model.vision, plan.image_size, plan.max_pixels)
    of_images = plan.images * one.tokens
    return Batch(
        plan.batch_size, plan.text_tokens + of_images, one.patches, plan.batch_size * plan.images, labeled
    ), of_images


def _checked(plan: Plan) -> Plan:
    allowed = {
        "quantization": ("nf4", "int8", "none"),
        "dtype": tuple(DTYPE_BYTES),
        "optimizer": ("adamw", "adamw_8bit", "muon"),
        "attention": ("sdpa", "flash_attention_2", "eager"),
    }
    for name, values in allowed.items():
        if (value := getattr(plan, name)) not in values:
            raise InputError(f"{name} is {value!r}", remedy=f"use one of {', '.join(values)}")
    return plan
