"""A batch of what a policy learns from, and how far off a network is on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganglion.model.policy.context import Context
from ganglion.model.policy.network import PolicyNetwork


@dataclass(frozen=True)
class Pictures:
    """What a backbone is to see of each read, B * R of them: encoded images in camera order, and the goal."""

    images: Sequence[Sequence[bytes]]
    instructions: Sequence[str]


@dataclass(frozen=True)
class Batch:
    """B sequences, each read at R places, with what to do there; all normalized.

    One sequence a little longer than a window is encoded once and read often, which costs far less than R windows.

    actions      (B, R, horizon, dim) float32
    real         (B, R, horizon) bool, the rows of a chunk that were commanded
    weight       (B,) float32, what a sequence's loss counts
    felt         (B,) bool, sequences of which anything was recorded by the sensor; None where no sensor is read, as are
                 the next two
    samples      (S, T, channels) float32 of the S sequences that are felt, whole hops
    present      (S, N, groups) bool, see SensorEncoder.stream
    ends         R frame numbers: a read sees the frames before it, at least a window of them
    vl_features  (B, R, tokens, width) float32, None for a robot without cameras, as are the next two
    vl_mask      (B, R, tokens) bool
    vl_age_s     (B, R) float32, age of the features at each read
    pictures     in the place of features and mask where a backbone is yet to see
    state        (B, R, dim) float32, None where there is none to read, as is the next
    state_known  (B, R) bool
    last_action  (B, R, dim) float32, what was commanded last, for comparison; None where that means nothing
    noise        (B, R, horizon, dim) float32 that a flow head starts from; None in regression, as is the next
    time         (B, R) float32 in 0 to 1, how far the flow is where its loss is taken
    """

    actions: Tensor
    real: Tensor
    weight: Tensor
    felt: Tensor | None = None
    samples: Tensor | None = None
    present: Tensor | None = None
    ends: tuple[int, ...] = ()
    vl_features: Tensor | None = None
    vl_mask: Tensor | None = None
    vl_age_s: Tensor | None = None
    pictures: Pictures | None = None
    state: Tensor | None = None
    state_known: Tensor | None = None
    last_action: Tensor | None = None
    noise: Tensor | None = None
    time: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors there."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return Batch(**values | moved)


def with_noise(batch: Batch, seed: Sequence[int]) -> Batch:
    """The batch with what a flow starts from and how far it is: the same for the same seed, sequence by sequence."""
    noise, time = [], []
    for row in range(len(batch.actions)):
        rng = np.random.default_rng([*seed, row])
        noise.append(rng.standard_normal(batch.actions.shape[1:], np.float32))
        time.append(rng.random(batch.actions.shape[1], np.float32))
    return replace(batch, noise=torch.as_tensor(np.stack(noise)), time=torch.as_tensor(np.stack(time)))


def predict(network: PolicyNetwork, batch: Batch) -> Tensor:
    """What the policy would do at each read: (B, R, horizon, dim) normalized."""
    noise = None if batch.noise is None else batch.noise.flatten(0, 1)
    actions: Tensor = network.expert(read_context(network, batch), noise)
    return actions.reshape(batch.actions.shape)


def losses(network: PolicyNetwork, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """How far off the network is: L1 in regression; in a flow the squared error of the chunk it is heading for.

    Returns:
        the mean over what is real of each sequence, (B,), and the gates of gated fusion, None otherwise.
    """
    expert, rows = network.expert, batch.actions.shape[0] * batch.actions.shape[1]
    memory = expert.remember(read_context(network, batch))
    if batch.noise is None or batch.time is None:
        off = (expert.decide(memory, rows).reshape(batch.actions.shape).float() - batch.actions).abs()
    else:
        time = batch.time[..., None, None]
        noisy = time * batch.actions + (1 - time) * batch.noise
        said = expert.decide(memory, rows, noisy.flatten(0, 1), batch.time.flatten())
        off = (said.reshape(batch.actions.shape).float() - batch.actions).square()
    real = batch.real[..., None].to(off.dtype)
    return (off * real).sum(dim=(1, 2, 3)) / (real.sum(dim=(1, 2, 3)) * off.shape[3]).clamp(min=1), memory.gates


def read_context(network: PolicyNetwork, batch: Batch) -> Context:
    """All that is known at each read, B * R rows."""

    def rows(values: Tensor | None) -> Any:
        return None if values is None else values.flatten(0, 1)

    context = Context(
        vl_features=rows(batch.vl_features),
        vl_mask=rows(batch.vl_mask),
        vl_age_s=rows(batch.vl_age_s),
        state=rows(batch.state),
        state_known=rows(batch.state_known),
    )
    if batch.samples is None or batch.present is None or batch.felt is None:
        return context
    count = network.config.read_frames
    frames, present = network.encode(batch.samples, batch.present, batch.felt)
    return context._replace(
        frames=torch.stack([frames[:, end - count : end] for end in batch.ends], dim=1).flatten(0, 1),
        present=torch.stack([present[:, end - count : end] for end in batch.ends], dim=1).flatten(0, 1),
    )
