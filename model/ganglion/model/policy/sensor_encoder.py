"""The streaming sensor encoder: samples in, one frame per hop out, the same for whole windows and for streams.

Per-sample projection, a causal convolution with a stride of one hop that looks one hop back, and layers of causal
attention over the newest W frames with a relative position bias. Nothing in it knows where a window begins, so a frame
depends on a fixed number of samples before it and on nothing else (docs/adr/0003-streaming-encoder.md).

What was not recorded is said, not zeroed: a hop of a channel group may be absent, and its learned token stands for it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.transformer import MASKED, Block, draw_weights


class SensorState(NamedTuple):
    """What a stream carries from one call to the next.

    conv  (B, hop_samples, width) float32: projected samples of the last hop
    kv    (B, layers, 2, heads, W - 1, width / heads) float32: keys and values of the last W - 1 frames of each layer
    seen  (B,) int64: how many of those are filled, 0 to W - 1
    """

    conv: Tensor
    kv: Tensor
    seen: Tensor


class SensorEncoder(nn.Module):
    """samples (B, N * hop_samples, channels) -> frames (B, N, width)."""

    group_of_channel: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.project = nn.Linear(config.channels, width)
        self.absent = nn.Parameter(0.02 * torch.randn(len(config.channel_groups), width))
        group = [index for index, channels in enumerate(config.channel_groups) for _ in range(channels)]
        self.register_buffer("group_of_channel", torch.tensor(group), persistent=False)
        # A convolution whose stride is half its kernel, written as the product over two neighboring hops that it is:
        # one MatMul, which ONNX Runtime quantizes to int8 and runs fast; a strided Conv it doesn't.
        self.convolve = nn.Linear(2 * config.hop_samples * width, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.distance_bias = nn.Parameter(torch.zeros(config.layers, config.heads, config.attention_frames))
        self.norm = nn.LayerNorm(width)
        self.apply(draw_weights)
        _balance_groups(self.project, config.channel_groups)
        _average_at_first(self.convolve, 2 * config.hop_samples)

    def fresh_state(self, batch: int) -> SensorState:
        """The state before the first sample: silence, nothing seen."""
        config, like = self.config, self.project.weight
        slots = config.attention_frames - 1
        return SensorState(
            like.new_zeros(batch, config.hop_samples, config.width),
            like.new_zeros(batch, config.layers, 2, config.heads, slots, config.head_width),
            torch.zeros(batch, dtype=torch.int64, device=like.device),
        )

    def forward(self, samples: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode windows from a fresh state: (B, T, channels) normalized float32 -> (B, T / hop_samples, width).

        `present` is as for `stream`; None means that everything is there.
        """
        if present is None:
            hops = samples.shape[1] // self.config.hop_samples
            present = samples.new_ones(samples.shape[0], hops, len(self.config.channel_groups))
        return self.stream(samples, present, self.fresh_state(samples.shape[0]))[0]

    def stream(self, samples: Tensor, present: Tensor, state: SensorState) -> tuple[Tensor, SensorState]:
        """Encode whole hops, continuing from `state`.

        Args:
            samples: (B, N * hop_samples, channels) normalized float32, N >= 1.
            present: (B, N, groups) bool or float, nonzero where a hop of a channel group was recorded; what the samples
                of others hold makes no difference: a learned token stands for them.
            state: as `fresh_state` or an earlier call gave it.

        Returns:
            frames (B, N, width) and the state for the samples that follow.

        Raises:
            ValueError: the samples are not a whole number of hops.
        """
        hop = self.config.hop_samples
        if not torch.compiler.is_exporting() and (samples.shape[1] == 0 or samples.shape[1] % hop):
            raise ValueError(f"{samples.shape[1]} samples are not a whole number of hops of {hop}")
        frames, conv = self._convolve(F.gelu(self._project(samples, present > 0)), state.conv)
        biases = self._scores(frames.shape[1], state.seen)
        slots, kv = self.config.attention_frames - 1, []
        for layer, block in enumerate(self.blocks):
            frames, keys_values = block(frames, biases[layer], state.kv[:, layer])
            kv.append(keys_values[:, :, :, -slots:])
        seen = torch.clamp(state.seen + frames.shape[1], max=slots)
        return self.norm(frames), SensorState(conv, torch.stack(kv, dim=1), seen)

    def _project(self, samples: Tensor, present: Tensor) -> Tensor:
        """Each sample (B, T, channels) to (B, T, width), with a group's token where it is absent."""
        known = torch.where(self._by_sample(present)[:, :, self.group_of_channel], samples, 0.0)
        tokens = (~present).to(self.absent.dtype) @ self.absent
        projected: Tensor = self.project(known) + self._by_sample(tokens)
        return projected

    def _by_sample(self, hops: Tensor) -> Tensor:
        """What holds for hops (B, N, ...) as what holds for their samples (B, N * hop_samples, ...)."""
        return hops[:, :, None].expand(-1, -1, self.config.hop_samples, -1).flatten(1, 2)

    def _convolve(self, projected: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Projected samples (B, N * hop, width) and the hop before them -> (B, N, width), the last hop."""
        hops = torch.cat([tail, projected], dim=1).reshape(projected.shape[0], -1, tail.shape[1] * tail.shape[2])
        pairs = torch.cat([hops[:, :-1], hops[:, 1:]], dim=2)
        return self.convolve(pairs), hops[:, -1].reshape(tail.shape)

    def _scores(self, count: int, seen: Tensor) -> Tensor:
        """What is added to attention scores: (layers, B, heads, count, W - 1 + count), MASKED where not to look."""
        reach = self.config.attention_frames
        key = torch.arange(reach - 1 + count, device=seen.device)
        distance = (key[reach - 1 :, None] - key[None, :]).clamp(min=-1, max=reach)
        inside = (distance >= 0) & (distance < reach)
        filled = key[None, :] >= reach - 1 - seen[:, None]
        allowed = inside[None, None] & filled[:, None, None]
        bias = self.distance_bias[:, :, distance.clamp(0, reach - 1)]
        return torch.where(allowed[None], bias[:, None], torch.full_like(bias[:, None], MASKED))


@torch.no_grad()
def _balance_groups(layer: nn.Linear, groups: tuple[int, ...]) -> None:
    """Let each channel group start with the same say, however few its channels: one of force beside 1025 of echo."""
    start = 0
    for channels in groups:
        layer.weight[:, start : start + channels] *= (layer.in_features / (len(groups) * channels)) ** 0.5
        start += channels


@torch.no_grad()
def _average_at_first(layer: nn.Linear, samples: int) -> None:
    """Let the convolution start as a projected average over its samples, which keeps what they have in common."""
    layer.weight.copy_(layer.weight[:, : layer.out_features].repeat(1, samples) * (2 / samples**0.5))
