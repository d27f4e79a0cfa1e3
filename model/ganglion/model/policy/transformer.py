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
        nn.init.zeros_(module.bias)


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
            tokens: (B, N, width).
            scores: added to attention scores, broadcastable to (B, heads, N, P + N); None attends to everything.
            past: keys and values of P earlier tokens, (B, 2, heads, P, width / heads); None for P = 0.

        Returns:
            tokens (B, N, width), and the keys and values used, (B, 2, heads, P + N, width / heads).
        """
        batch, count, width = tokens.shape
        qkv = self.qkv(self.attention_norm(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        query, keys_values = qkv[:, :, 0].transpose(1, 2), qkv[:, :, 1:].permute(0, 2, 3, 1, 4)
        if past is not None:
            keys_values = torch.cat([past, keys_values], dim=3)
        # Written out: scaled_dot_product_attention returns another memory layout than its ONNX decomposition, which
        # torch.onnx.export then can't reshape.
        match = (query * query.shape[-1] ** -0.5) @ keys_values[:, 0].transpose(2, 3)
        weights = torch.softmax(match if scores is None else match + scores, dim=-1)
        mixed = weights @ keys_values[:, 1]
        tokens = tokens + self.mix(mixed.transpose(1, 2).reshape(batch, count, width))
        return tokens + self.feed_out(F.gelu(self.feed_in(self.feed_norm(tokens)))), keys_values
