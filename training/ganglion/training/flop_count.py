"""Counting the floating-point operations of code that really runs, by the formulas of torch.utils.flop_counter.

Torch's FlopCounterMode itself would not do. It replaces some operators by their decomposition while it counts (the
gradient of SiLU, so in every decoder layer), which changes gradients in the last bits: a metered run must give the same
weights as one that is not. And it counts as nothing what it does not know: the 4-bit and 8-bit matrix products of
bitsandbytes and the CPU's fused attention, for which formulas are given here.

A multiplication and an addition are two operations; element-wise work is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

METHOD = (
    "counted on real training batches, forward and backward, recomputation included, by the formulas of "
    "torch.utils.flop_counter and others for bitsandbytes' matrix products and the CPU's fused attention; causal "
    "attention counts as full"
)
Shape = tuple[int, ...]


class FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its modes untyped
    """Sums `flops` over the operators that run while it is entered, gradients of this thread and of GPUs included."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.flops = 0
        self._formulas = {**flop_registry, **_formulas()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator as it is, and look at its shapes."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (formula := self._formulas.get(getattr(func, "_overloadpacket", func))) is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        return out


@contextmanager
def counting_flops() -> Iterator[FlopCount]:
    """Count the operations inside the block. Nothing that is computed changes, and no random numbers are drawn."""
    with FlopCount() as count:
        yield count


def _formulas() -> dict[Any, Callable[..., int]]:
    """Formulas by operator, each called with shapes in place of tensors."""
    aten = torch.ops.aten
    found: dict[Any, Callable[..., int]] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with suppress(ImportError):
        import bitsandbytes  # noqa: F401  (registers its operators)

        quantized = torch.ops.bitsandbytes
        found[quantized.gemm_4bit] = _packed_product
        found[quantized.int8_scaled_mm] = _product
        found[quantized.int8_mixed_scaled_mm] = _mixed_product
    wrap: Any = shape_wrapper
    return {operator: wrap(formula) for operator, formula in found.items()}


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Two products of (T, S) by the head width."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


def _attention_backward(_gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Five products: the scores again, and the gradients of scores, values, queries and keys."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (3 * width + 2 * value[3])


def _packed_product(a: Shape, _packed: Shape, b: list[int], *_: Any, **__: Any) -> int:
    """(..., K) by a packed (N, K)."""
    return 2 * prod(a) * b[0]


def _product(a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    """(..., K) by (N, K)."""
    return 2 * prod(a) * b[0]


def _mixed_product(a: Shape, _quantized: Shape, b: Shape, *_: Any, **__: Any) -> int:
    """(..., K) by (N, K), outlier columns apart."""
    return 2 * prod(a) * b[0]
