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

    conv  (B, width) float32: what the last hop adds to the next frame
    kv    (B, layers * 2 * heads, W - 1, width / heads) float32: of the last W - 1 frames, layer by layer, keys and then
          values of all heads
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
        width, hop = config.width, config.hop_samples
        self.project = nn.Linear(config.channels, width)
        self.absent = nn.Parameter(0.02 * torch.randn(len(config.channel_groups), width))
        group = [index for index, channels in enumerate(config.channel_groups) for _ in range(channels)]
        self.register_buffer("group_of_channel", torch.tensor(group), persistent=False)
        # A convolution whose stride is half its kernel, as the two products that it is: what a hop adds to its own
        # frame, and to the next. ONNX Runtime runs products fast and quantizes them, a strided Conv it doesn't.
        self.to_own = nn.Linear(hop * width, width)
        self.to_next = nn.Linear(hop * width, width, bias=False)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.distance_bias = nn.Parameter(torch.zeros(config.layers, config.heads, config.attention_frames))
        self.norm = nn.LayerNorm(width)
        self.apply(draw_weights)
        _balance_groups(self.project, config.channel_groups)
        _average_at_first(self.to_own, self.to_next, hop)

    def fresh_state(self, batch: int) -> SensorState:
        """The state before the first sample: silence, nothing seen."""
        config, like = self.config, self.project.weight
        rows, slots = config.layers * 2 * config.heads, config.attention_frames - 1
        return SensorState(
            like.new_zeros(batch, config.width),
            like.new_zeros(batch, rows, slots, config.head_width),
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
        hop, slots = self.config.hop_samples, self.config.attention_frames - 1
        if not torch.compiler.is_exporting() and (samples.shape[1] == 0 or samples.shape[1] % hop):
            raise ValueError(f"{samples.shape[1]} samples are not a whole number of hops of {hop}")
        batch, count = samples.shape[0], present.shape[1]
        # All frames are rows of one matrix: then a Linear and its bias are one node in ONNX, a Gemm.
        samples = samples.reshape(batch, count, hop, self.config.channels)
        hops = F.gelu(self._project(samples, present > 0)).reshape(batch * count, -1)
        given = torch.cat([state.conv[:, None], self.to_next(hops).unflatten(0, (batch, count))], dim=1)
        frames = self.to_own(hops) + given[:, :-1].flatten(0, 1)
        scores = self._scores(count, state.seen).chunk(self.config.layers, dim=1)
        past, kv = state.kv.chunk(self.config.layers, dim=1), []
        for layer, block in enumerate(self.blocks):
            frames, keys_values = block(frames, scores[layer], past[layer])
            kv.append(keys_values)
        state = SensorState(
            given[:, -1], torch.cat(kv, dim=1)[:, :, -slots:], torch.clamp(state.seen + count, max=slots)
        )
        return self.norm(frames).unflatten(0, (batch, count)), state

    def _project(self, samples: Tensor, present: Tensor) -> Tensor:
        """Samples (B, N, hop, channels) to (B, N, hop, width), with a group's token where it is absent."""
        known = samples
        if torch.compiler.is_exporting() or not bool(present.all()):
            known = torch.where(present.index_select(2, self.group_of_channel)[:, :, None], samples, 0.0)
        tokens = F.linear((~present).to(self.absent.dtype), self.absent.T, self.project.bias)
        return F.linear(known, self.project.weight) + tokens[:, :, None]

    def _scores(self, count: int, seen: Tensor) -> Tensor:
        """What is added to attention scores, MASKED where not to look: (B, layers * heads, count, W - 1 + count)."""
        reach = self.config.attention_frames
        first, last = reach - 1, reach - 1 + count
        key = torch.arange(last, device=seen.device)
        distance = torch.arange(first, last, device=seen.device)[:, None] - key
        # Later keys and those too long ago find MASKED at the ends of the biases.
        biases = F.pad(self.distance_bias.flatten(0, 1), (1, 1), value=MASKED).T
        by_distance = F.embedding(distance.clamp(-1, reach) + 1, biases).permute(2, 0, 1)
        empty = key < first - seen[:, None]
        return by_distance + torch.where(empty, MASKED, 0.0)[:, None, None]


@torch.no_grad()
def _balance_groups(layer: nn.Linear, groups: tuple[int, ...]) -> None:
    """Let each channel group start with the same say, however few its channels: one of force beside 1025 of echo."""
    start = 0
    for channels in groups:
        layer.weight[:, start : start + channels] *= (layer.in_features / (len(groups) * channels)) ** 0.5
        start += channels


@torch.no_grad()
def _average_at_first(own: nn.Linear, following: nn.Linear, samples: int) -> None:
    """Let the convolution start as a projected average over its samples, which keeps what they have in common."""
    average = own.weight[:, : own.out_features].repeat(1, samples) / samples**0.5
    own.weight.copy_(average)
    following.weight.copy_(average)
