"""One optimizer step of a run, gone through without weights: what is alive when, and what is computed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ganglion.model.backbone.backbone import Backbone
from ganglion.training.estimate.weightless import LiveBytes, drop_as_on_gpu, hollowed
from ganglion.training.flop_count import counting_flops
from ganglion.training.policy.batch import Batch, losses
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.estimate.shapes import Shapes
from ganglion.training.policy.estimate.source import HollowSource
from ganglion.training.policy.estimate.views import blank_pictures, meta_backbone
from ganglion.training.policy.learner import Learner, make_learner
from ganglion.training.policy.loop import autocast, prepared
from ganglion.training.policy.optimization import make_optimizer
from ganglion.training.processes import process_count

_CPU, _META = torch.device("cpu"), torch.device("meta")


@dataclass(frozen=True)
class Rehearsal:
    """What was found; bytes, but for the counts.

    parameters  how many, frozen ones and those of each group that learns
    frozen      weights and tables that do not learn
    learning    of each group: weights, gradients, and AdamW's moments
    batch       what comes from the data
    backbone    kept for the backward pass, of the backbone
    network     the same, of encoder and expert, with the features that they read
    working     what else there is at the peak of the step
    evaluating  peak while a batch of held-back moments is predicted
    flops       of one forward and backward pass
    """

    parameters: dict[str, int]
    frozen: int
    learning: dict[str, int]
    batch: int
    backbone: int
    network: int
    working: int
    evaluating: int
    flops: int


def rehearse(learner: Learner, config: PolicyTrainConfig, on_gpu: bool) -> Rehearsal:
    """Go through the last pass of a step, when gradients of those before it are there, and the optimizer's step.

    Args:
        learner: from `hollow_learner`.
        config: of the run; its precision is resolved.
        on_gpu: dropout and optimizer work as on one.
    """
    if on_gpu and learner.policy.backbone is not None:
        drop_as_on_gpu(learner.policy.backbone)
    with counting_flops() as count, LiveBytes() as memory:
        frozen = memory.hold(_frozen(learner))
        memory.hold(learner.parameters().values())
        optimizer = _optimizer(learner, config, on_gpu)
        learning = {name: _held_by(group, optimizer) for name, group in learner.groups.items()}
        batch, backbone, network, working = _step(learner, config, optimizer, memory)
        flops = count.flops
        evaluating = _evaluate(learner, config, memory)
    return Rehearsal(learner.parameter_counts(), frozen, learning, batch, backbone, network, working, evaluating, flops)


@torch.no_grad()
def bytes_to_see(backbone: Backbone, shapes: Shapes, frames: int) -> tuple[int, int]:
    """Peak bytes while a frozen backbone looks at `frames` moments at once; and how many tokens it makes of each."""
    pictures = blank_pictures(shapes.robot, frames, shapes.instruction)
    with LiveBytes() as memory:
        memory.hold([*backbone.parameters(), *backbone.buffers()])
        features, _ = backbone.features(pictures.images, pictures.instructions)
    return memory.peak, features.shape[1]


def hollow_backbone(config: PolicyTrainConfig, on_gpu: bool) -> Backbone:
    """The run's backbone, frozen and without weights.

    Raises:
        InputError: see meta_backbone.
    """
    backbone = meta_backbone(config.vl, on_gpu)
    hollowed(backbone)
    return backbone


def hollow_learner(config: PolicyTrainConfig, source: HollowSource, backbone: Backbone | None) -> Learner:
    """What learns in a run, without weights.

    Args:
        config: of the run.
        source: gives the shapes.
        backbone: on the meta device; None where features come ready.

    Raises:
        InputError: the shapes don't fit together, or nothing of the backbone would learn.
    """
    with _META:
        learner = make_learner(replace(config, init_from=None), source, backbone, "", _META)
    replaced = hollowed(learner.network) | (hollowed(backbone) if backbone is not None else {})
    groups = {name: [replaced[parameter] for parameter in group] for name, group in learner.groups.items()}
    return replace(learner, groups=groups, device=_CPU)


def _optimizer(learner: Learner, config: PolicyTrainConfig, on_gpu: bool) -> torch.optim.Optimizer:
    """The optimizer as it is from the second step on, with gradients there."""
    optimizer = make_optimizer(learner.groups, config.optim)
    for group in optimizer.param_groups:
        group["foreach"] = on_gpu  # torch's default for tensors that say where they are
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


def _step(
    learner: Learner, config: PolicyTrainConfig, optimizer: torch.optim.Optimizer, memory: LiveBytes
) -> tuple[int, int, int, int]:
    """Bytes of the batch, kept by the backbone, kept by encoder and expert, and what the peak adds."""
    learner.learn(True)
    start = memory.now
    batch = _held(memory, prepared(learner.source.batch(0), config, (0,)))
    read, memory.peak = memory.now, memory.now
    with autocast(config, _CPU):
        seen = learner.see(batch)
        looked = memory.now
        off, _ = losses(learner.network, seen)
        del seen
    kept = memory.now
    (off * batch.weight).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if process_count() > 1:  # the copy that processes exchange
        torch.cat([value.grad.flatten() for value in learner.parameters().values() if value.grad is not None])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return read - start, looked - read, kept - looked, memory.peak - kept


@torch.no_grad()
def _evaluate(learner: Learner, config: PolicyTrainConfig, memory: LiveBytes) -> int:
    """Bytes at the peak while held-back moments are predicted."""
    learner.learn(False)
    memory.peak = memory.now
    for batch in learner.source.held_back():
        batch = _held(memory, prepared(batch, config, (0,)))
        with autocast(config, _CPU):
            losses(learner.network, learner.see(batch))
    return memory.peak


def _held(memory: LiveBytes, batch: Batch) -> Batch:
    values = [getattr(batch, field.name) for field in fields(batch)]
    memory.hold(value for value in values if isinstance(value, Tensor))
    return batch


def _frozen(learner: Learner) -> list[Tensor]:
    """Weights and tables, on the device for the whole run, that do not learn."""
    learning = set(learner.parameters().values())
    found: list[Tensor] = list(learner.network.buffers())
    if learner.policy.backbone is not None:
        found += learner.policy.backbone.buffers()
        found += (value for value in learner.policy.backbone.parameters() if value not in learning)
    return found


def _held_by(group: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    """Bytes of weights, their gradients and what the optimizer keeps of them."""
    values = [value for weight in group for value in (weight, weight.grad, *optimizer.state[weight].values())]
    return sum(value.numel() * value.element_size() for value in values if value is not None)
