"""Attention as the graphs compute it: heads that share a key and value go through one product.

The library repeats keys and values for each head first; a decoder would copy its whole cache, several times over, for
every token it writes (docs/reference/onnx.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

_NAME = "ganglion_grouped"


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Softmax attention, in the form that the library calls.

    Args:
        module: is not looked at.
        query: (B, H, T, D).
        key: (B, G, S, D), each for H / G heads that follow each other.
        value: (B, G, S, D).
        attention_mask: added to the scores, (B, 1, T, S).
        scaling: factor of the scores.
        _: other options of the library's, none of which changes what is computed.

    Returns:
        (B, T, H, D), and no weights.
    """
    (batch, heads, new, width), groups = query.shape, key.shape[1]
    query = (query * scaling).reshape(batch, groups, heads // groups, new, width)
    scores = query @ key[:, :, None].transpose(3, 4) + attention_mask[:, :, None]
    mixed = scores.softmax(-1) @ value[:, :, None]
    return mixed.flatten(1, 2).transpose(1, 2), None


@contextlib.contextmanager
def grouped(config: Any) -> Iterator[None]:
    """Within, the layers of that configuration attend so."""
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


AttentionInterface.register(_NAME, grouped_attention)
