"""Bytes of frozen weights, and of an optimizer's state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ganglion.training.sft.estimate.plan import DTYPE_BYTES, Plan
from ganglion.training.sft.estimate.skeleton import Linear, Skeleton

# bitsandbytes: one 8-bit scale for 64 weights, and one float32 scale for 256 of those; per layer the tables of both
# codes (16 and 256 float32) and one offset.
_NF4_BLOCK, _NF4_SCALES, _NF4_TABLES = 64, 256, (16 + 256 + 1) * 4
# bitsandbytes keeps smaller tensors in 32 bits; others in 8, with one float32 scale for 256.
_SMALLEST_8BIT, _8BIT_BLOCK = 4096, 256


@dataclass(frozen=True)
class Weights:
    """Frozen weights, bytes. What is quantized is `linears_quantized`; `others` are norms, biases, patch embedding."""

    linears_quantized: int
    linears: int
    embeddings: int
    head: int
    others: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.linears_quantized + self.linears + self.embeddings + self.head + self.others


def frozen_weights(model: Skeleton, plan: Plan) -> Weights:
    """The base as it lies in memory while the adapter is trained."""
    element = DTYPE_BYTES[plan.dtype]
    quantized = plan.quantization != "none"
    inner = [layer for layer in model.linears if layer.name != model.head]
    head = model.linears[-1]
    return Weights(
        linears_quantized=sum(quantized_bytes(x, plan.quantization) for x in inner if quantized and x.quantizable),
        linears=sum(x.inputs * x.outputs * element for x in inner if not (quantized and x.quantizable)),
        embeddings=model.embeddings * element,
        head=0 if model.tied else head.inputs * head.outputs * element,
        others=model.others * element + model.buffers,
    )


def quantized_bytes(layer: Linear, quantization: str) -> int:
    """A layer's weight with all that is needed to unpack it; not its bias."""
    count = layer.inputs * layer.outputs
    if quantization == "int8":
        return count + 4 * layer.outputs  # one float32 scale per row
    scales = -(-count // _NF4_BLOCK)
    return -(-count // 2) + scales + 4 * -(-scales // _NF4_SCALES) + _NF4_TABLES


def file_bytes(model: Skeleton, plan: Plan) -> int:
    """Of the layers that were quantized, as they are in the checkpoint, which is taken to have the plan's dtype.

    Weights that are not quantized are the mapped file themselves, and count once.
    """
    if plan.quantization == "none":
        return 0
    return sum(x.inputs * x.outputs for x in model.linears if x.quantizable) * DTYPE_BYTES[plan.dtype]


def optimizer_bytes(sizes: Iterable[int], optimizer: str) -> int:
    """Of what is kept for each trainable weight: two moments, or Muon's one momentum."""
    total = 0
    for size in sizes:
        if optimizer == "adamw_8bit" and size >= _SMALLEST_8BIT:
            total += 2 * (size + 4 * -(-size // _8BIT_BLOCK))
        else:
            total += (1 if optimizer == "muon" else 2) * 4 * size
    return total
