"""The pre-norm transformer block that the sensor encoder and the action expert share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -1e9  # added to an attention score it makes the weight exactly 0 in float32, without the NaN risk of -inf


def draw_weights(module: nn.Module) -> None:
    """Weights of a Linear that keep a signal's variance, biases of 0; for `module.apply`.

    Torch's default shrinks it to a third with every layer, and what lay 40 frames back passes ten of them: it arrived
    too faint to be learned from.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def attend(query: Tensor, keys_values: Tensor, scores: Tensor | None) -> Tensor:
    """Softmax attention.

    Args:
        query: (B, heads, N, width / heads).
        keys_values: (B, 2 * heads, M, width / heads), keys of all heads, then values.
        scores: added to attention scores, broadcastable to (B, heads, N, M); None attends to everything.

    Returns:
        (B, N, width)
    """
    # Written out: scaled_dot_product_attention returns another memory layout than its ONNX decomposition, which
    # torch.onnx.export then can't reshape.
    keys, values = keys_values.chunk(2, dim=1)
    match = (query * query.shape[-1] ** -0.5) @ keys.transpose(2, 3)
    weights = torch.softmax(match if scores is None else match + scores, dim=-1)
    return (weights @ values).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Self-attention over `past` and the present tokens, then a feed-forward layer, each with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, scores: Tensor | None, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix tokens.

        Args:
            tokens: (B, N, width), or with a past also (B * N, width).
            scores: added to attention scores, broadcastable to (B, heads, N, P + N); None attends to everything.
            past: keys and values of P earlier tokens, (B, 2 * heads, P, width / heads); None for P = 0.

        Returns:
            tokens in the shape they came in, and the keys and values used, (B, 2 * heads, P + N, width / heads).
        """
        tokens, keys_values = self.look(tokens, scores, past)
        return self.feed(tokens), keys_values

    def look(self, tokens: Tensor, scores: Tensor | None, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """The attention half of `forward`."""
        batch = tokens.shape[0] if past is None else past.shape[0]
        qkv = self.qkv(self.attention_norm(tokens)).reshape(batch, -1, 3 * self.heads, tokens.shape[-1] // self.heads)
        query, keys_values = qkv.transpose(1, 2).split([self.heads, 2 * self.heads], dim=1)
        if past is not None:
            keys_values = torch.cat([past, keys_values], dim=2)
        return tokens + self.mix(attend(query, keys_values, scores).reshape(tokens.shape)), keys_values

    def feed(self, tokens: Tensor) -> Tensor:
        """The feed-forward half of `forward`."""
        fed: Tensor = tokens + self.feed_out(F.gelu(self.feed_in(self.feed_norm(tokens))))
        return fed


class CrossAttention(nn.Module):
    """What tokens take from a memory whose keys and values are made once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.memory_norm = nn.LayerNorm(width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.mix = nn.Linear(width, width)

    def remember(self, memory: Tensor) -> Tensor:
        """Memory (B, M, width) -> its keys and values (B, 2 * heads, M, width / heads)."""
        both: Tensor = self.keys_values(self.memory_norm(memory)).unflatten(2, (2 * self.heads, -1))
        return both.transpose(1, 2)

    def forward(self, tokens: Tensor, remembered: Tensor, scores: Tensor | None) -> Tensor:
        """Tokens (B, N, width) -> what each takes, (B, N, width), to be added by the caller."""
        query = self.query(self.norm(tokens)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        taken: Tensor = self.mix(attend(query, remembered, scores))
        return taken
