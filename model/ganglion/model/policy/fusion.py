"""How the tokens of a chunk read their context: what it holds is worked out once, then read any number of times.

concat            context and chunk in one sequence; each layer of the expert updates the context by itself, and the
                  chunk's tokens attend to it and to each other
cross_attention   the context stays as it is; in each layer the chunk's tokens attend to each other, then to it
gated             as cross_attention, with the sensor apart: what is taken from its frames is weighted, per feature, by
                  a gate that looks at those frames and at what else there is
none              as cross_attention, without a sensor
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context, ContextTokens
from ganglion.model.policy.transformer import Block, CrossAttention


class Memory(NamedTuple):
    """A context, worked out.

    layers  for each layer of the expert keys and values, (B, 2 * heads, P, width / heads), of each of its parts
    scores  of each part what to add to attention scores, (B, 1, 1, P)
    gates   (layers, B, 1, width), the weight of what is taken from the sensor; None where there is no gate
    """

    layers: tuple[tuple[Tensor, ...], ...]
    scores: tuple[Tensor, ...]
    gates: Tensor | None = None


class Concat(nn.Module):
    """See the module."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.tokens = ContextTokens(config)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.expert_layers))

    def remember(self, context: Context, batch: int) -> Memory:
        """Work out a context of `batch` rows."""
        others, scores = self.tokens.others(context, batch)
        tokens = torch.cat([self.tokens.sensor(context), others], dim=1)
        scores = torch.cat([scores.new_zeros(batch, 1, 1, tokens.shape[1] - others.shape[1]), scores], dim=3)
        layers = []
        for block in self.blocks:
            tokens, keys_values = block(tokens, scores)
            layers.append((keys_values,))
        return Memory(tuple(layers), (scores,))

    def forward(self, chunk: Tensor, memory: Memory) -> Tensor:
        """Tokens of the chunk (B, horizon, width), read with the context behind them."""
        (scores,) = memory.scores
        scores = torch.cat([scores, scores.new_zeros(*scores.shape[:3], chunk.shape[1])], dim=3)
        for block, (past,) in zip(self.blocks, memory.layers, strict=True):
            chunk, _ = block(chunk, scores, past)
        return chunk


class Cross(nn.Module):
    """See the module: cross_attention, gated and none."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        width, layers = config.width, config.expert_layers
        self.gated, self.reads_sensor = config.fusion == "gated", config.fusion != "none"
        self.tokens = ContextTokens(config)
        self.layers = nn.ModuleList(CrossLayer(width, config.heads, 2 if self.gated else 1) for _ in range(layers))
        if self.gated:
            self.gate = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, layers * width))

    def remember(self, context: Context, batch: int) -> Memory:
        """Work out a context of `batch` rows."""
        others, scores = self.tokens.others(context, batch)
        if not self.reads_sensor:
            return self._memory((others,), (scores,))
        sensor = self.tokens.sensor(context)
        free = scores.new_zeros(batch, 1, 1, sensor.shape[1])
        if not self.gated:
            return self._memory((torch.cat([sensor, others], dim=1),), (torch.cat([free, scores], dim=3),))
        weights = torch.softmax(scores[:, 0], dim=2)  # equal for what is there, 0 for padding
        seen = torch.cat([sensor.mean(dim=1), (weights @ others)[:, 0]], dim=1)
        gates = torch.sigmoid(self.gate(seen)).reshape(batch, len(self.layers), 1, -1).transpose(0, 1)
        return self._memory((others, sensor), (scores, free))._replace(gates=gates)

    def forward(self, chunk: Tensor, memory: Memory) -> Tensor:
        """Tokens of the chunk (B, horizon, width), read with the context behind them."""
        for number, (layer, remembered) in enumerate(zip(self.layers, memory.layers, strict=True)):
            gate = None if memory.gates is None else memory.gates[number]
            chunk = layer(chunk, remembered, memory.scores, gate)
        return chunk

    def _memory(self, parts: tuple[Tensor, ...], scores: tuple[Tensor, ...]) -> Memory:
        return Memory(tuple(layer.remember(parts) for layer in self.layers), scores)  # type: ignore[operator]  # a CrossLayer


class CrossLayer(nn.Module):
    """One layer of Cross: the chunk's tokens attend to each other, then to each part of the context."""

    def __init__(self, width: int, heads: int, parts: int) -> None:
        super().__init__()
        self.block = Block(width, heads)
        self.parts = nn.ModuleList(CrossAttention(width, heads) for _ in range(parts))

    def remember(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Keys and values of each part's tokens."""
        return tuple(part.remember(tokens) for part, tokens in zip(self.parts, parts, strict=True))  # type: ignore[operator]  # a CrossAttention

    def forward(
        self, chunk: Tensor, remembered: tuple[Tensor, ...], scores: tuple[Tensor, ...], gate: Tensor | None
    ) -> Tensor:
        """Tokens (B, horizon, width) after this layer; what is taken from the last part is weighted by `gate`."""
        chunk, _ = self.block.look(chunk, None, None)
        taken = [part(chunk, *memory) for part, *memory in zip(self.parts, remembered, scores, strict=True)]
        if gate is not None:
            taken[-1] = taken[-1] * gate
        return self.block.feed(torch.stack([chunk, *taken]).sum(dim=0))
