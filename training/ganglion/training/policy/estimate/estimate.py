"""The whole estimate: bytes by part, operations, seconds per optimizer step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.training.estimate import Device, device_name, get_device
from ganglion.training.estimate.devices import CPU
from ganglion.training.policy.backbone import FRAMES_AT_ONCE
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.estimate.rehearsal import (
    Rehearsal,
    bytes_to_see,
    hollow_backbone,
    hollow_learner,
    rehearse,
)
from ganglion.training.policy.estimate.shapes import Shapes
from ganglion.training.policy.estimate.source import HollowSource
from ganglion.training.policy.estimate.views import meta_backbone
from ganglion.training.policy.optimization import use_bfloat16


@dataclass(frozen=True)
class Estimate:
    """What a run takes on a device; in each process, where there are several.

    device      what it is meant for
    step        what was found by rehearsing one pass and the optimizer's step
    passes      forward passes per optimizer step
    seeing      bytes at the peak before training, where the backbone sees all frames then; else 0
    features    bytes of the VL features of those frames, kept in a CPU's memory
    """

    device: Device
    step: Rehearsal
    passes: int
    seeing: int
    features: int

    @property
    def parts(self) -> dict[str, int]:
        """Bytes at the peak of an optimizer step, by part."""
        step, device = self.step, self.device
        ready = 1 if device.is_gpu else 2  # on a CPU the next batch, read ahead, lies in the same memory
        return {
            "frozen weights and tables": step.frozen,
            **{f"{name}: weights, gradients, moments": size for name, size in step.learning.items()},
            "batch": ready * step.batch + self.features,
            "kept by the backbone": step.backbone,
            "kept by encoder and expert": step.network,
            "working memory": step.working,
            self._overhead_name: self._overhead(step.backbone + step.network + step.working),
        }

    @property
    def total(self) -> int:
        """The most at any time, bytes."""
        return max(sum(self.parts.values()), *self.others.values())

    @property
    def others(self) -> dict[str, int]:
        """Bytes at the peak of what a run does beside steps, but for what the allocator loses."""
        overhead = self.device.overhead_bytes
        before = {"peak while frames are seen": self.seeing + overhead} if self.seeing else {}
        return {**before, "peak while evaluating": self.step.evaluating + self.features + overhead}

    @property
    def fits(self) -> bool:
        """Whether it is within the device's memory."""
        return self.total <= self.device.memory_bytes

    @property
    def step_flops(self) -> int:
        """Of one optimizer step, in each process."""
        return self.passes * self.step.flops

    @property
    def step_seconds(self) -> float:
        """Of one optimizer step, without reading data: operations over the device's, as far as it reaches them."""
        return self.step_flops / (self.device.flops * self.device.efficiency)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "device": asdict(self.device),
            "parameters": self.step.parameters,
            "bytes": self.parts,
            "other_peaks": self.others,
            "total_bytes": self.total,
            "fits": self.fits,
            "step_flops": self.step_flops,
            "step_seconds": self.step_seconds,
        }

    @property
    def _overhead_name(self) -> str:
        return "context and allocator" if self.device.is_gpu else "process without the model"

    def _overhead(self, activations: int) -> int:
        return self.device.overhead_bytes + int(self.device.slack * activations)


def estimate(config: PolicyTrainConfig, shapes: Shapes) -> Estimate:
    """Estimate a run of which nothing is read but the config of its base.

    Args:
        config: its options, checked.
        shapes: of its data.

    Raises:
        InputError: an unknown device, or a base that can't be used.
    """
    name = device_name(config.estimate_on)
    on_gpu = name != CPU
    if on_gpu and config.precision == "auto":
        config = replace(config, precision="bfloat16")
    vl, backbone, seeing, tokens = _sight(config, shapes, on_gpu)
    learner = hollow_learner(config, HollowSource(config, shapes, vl, tokens), backbone)
    features = 0 if on_gpu or vl is None else 4 * shapes.frames * tokens * vl.vl_width
    of_network = "bfloat16" if use_bfloat16(config.precision, torch.device("cpu")) else "float32"
    return Estimate(
        device=get_device(name, backbone.facts.vl_precision if backbone else of_network),
        step=rehearse(learner, config, on_gpu),
        passes=config.accumulation,
        seeing=seeing,
        features=features,
    )


def _sight(
    config: PolicyTrainConfig, shapes: Shapes, on_gpu: bool
) -> tuple[BackboneFacts | None, Backbone | None, int, int]:
    """What is known of the backbone; itself, where it sees each batch; bytes to see frames before; tokens a moment."""
    if not shapes.robot.cameras:
        return None, None, 0, 0
    if config.caches:
        from ganglion.training.demonstrations.feature_cache import open_caches

        facts, features = open_caches(config.caches, config.folders)
        return facts, None, 0, len(features[0](0, 0))
    if shapes.frames:
        backbone = hollow_backbone(config, on_gpu)
        return backbone.facts, None, *bytes_to_see(backbone, shapes, FRAMES_AT_ONCE)
    backbone = meta_backbone(config.vl, on_gpu)
    return backbone.facts, backbone, 0, 0
