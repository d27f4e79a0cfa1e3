"""Products with weights in the precision that was asked for: what a graph computes, and how its weights are stored.

    float32  as they are
    int8     weights in 8 bits, one scale for each column; activations in 8 bits, scaled anew for each call
    int4     weights in 4 bits, one scale for each 32 of a column; activations in 8 bits where the machine gains by it

Products of two activations (attention) keep float32: in 8 bits they lose what a policy was trained for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

BLOCK = 32  # weights of a column that share a scale
_MICROSOFT = "com.microsoft"
_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level
Floats = npt.NDArray[np.float32]


def pack_weights(model: ir.Model, precision: str) -> None:
    """Rewrite each product with a weight, in place; weights are read when the model is saved."""
    rewrite = {"float32": _plain, "int8": _int8, "int4": _int4}[precision]
    latest = _Latest()
    for node in list(model.graph):
        if node.op_type == "MatMul" and (weight := _Weight.of(node)):
            rewrite(model.graph, node, weight, latest)
    _drop_unused(model.graph)
    if precision == "int4":
        model.graph.opset_imports[_MICROSOFT] = 1


class _Weight:
    """The constant right side of a product, (K, N): stored so, or as the (N, K) of a torch Linear."""

    def __init__(self, value: ir.Value, transposed: bool) -> None:
        self.value, self._transposed = value, transposed
        assert value.name is not None and value.shape is not None
        self.name = value.name
        rows, columns = value.shape.numpy()
        self.k, self.n = (columns, rows) if transposed else (rows, columns)

    @classmethod
    def of(cls, node: ir.Node) -> _Weight | None:
        """That of a MatMul; None where both sides are computed."""
        value = node.inputs[1]
        turn = value.producer() if value is not None else None
        transposed = turn is not None and turn.op_type == "Transpose"
        if turn is not None and transposed:
            value = turn.inputs[0]
        if value is None or not value.is_initializer() or value.shape is None or len(value.shape) != 2:
            return None
        return cls(value, transposed)

    def by_row(self) -> Floats:
        """(K, N), contiguous."""
        stored = self._read()
        return np.ascontiguousarray(stored.T if self._transposed else stored)

    def _read(self) -> Floats:
        found = self.value.const_value
        assert found is not None
        return found.numpy()


def packed_bytes(shape: tuple[int, ...], precision: str) -> int:
    """Bytes that a weight takes in a graph.

    Args:
        shape: (N, K) of a Linear's weight, or any in float32 or float16.
        precision: what its products compute in.
    """
    count = int(np.prod(shape))
    if precision in ("float32", "float16"):
        return count * (4 if precision == "float32" else 2)
    n, k = shape
    if precision == "int8":
        return count + 4 * n
    blocks = -(-k // BLOCK)
    return n * blocks * (BLOCK // 2 + 4) + n * -(-blocks // 2)


class _Latest:
    """Keeps what was made last, and nothing else: the parts of a packed weight are written one after the other."""

    def __init__(self) -> None:
        self._name, self._parts = "", ()

    def __call__(self, name: str, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """The parts of that weight."""
        if self._name != name:
            self._parts = ()  # freed before the next is made
            self._name, self._parts = name, make()
        return self._parts


def _plain(graph: ir.Graph, node: ir.Node, weight: _Weight, latest: _Latest) -> None:
    """As it is, but turned once and for all."""
    if node.inputs[1] is not weight.value:
        turned = _lazy(graph, f"{weight.name}.T", weight.by_row, ir.DataType.FLOAT, (weight.k, weight.n))
        node.replace_input_with(1, turned)


def _int8(graph: ir.Graph, node: ir.Node, weight: _Weight, latest: _Latest) -> None:
    """Activations in 8 bits with a scale and zero of their own, a whole-number product, scaled back by column."""

    def packed() -> tuple[npt.NDArray[np.int8], Floats]:
        found = weight.by_row()
        largest = np.abs(found).max(0)
        scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(127)
        return np.rint(found / scale).astype(np.int8), scale

    name, shape = weight.name, (weight.k, weight.n)
    stored = _lazy(graph, f"{name}.int8", lambda: latest(name, packed)[0], ir.DataType.INT8, shape)
    scales = _lazy(graph, f"{name}.scale", lambda: latest(name, packed)[1], ir.DataType.FLOAT, shape[1:])
    quantized = ir.node("DynamicQuantizeLinear", [node.inputs[0]], num_outputs=3)
    activations, scale, zero = quantized.outputs
    product = ir.node("MatMulInteger", [activations, stored, zero])
    whole = ir.node("Cast", product.outputs, {"to": ir.DataType.FLOAT})
    both = ir.node("Mul", [scale, scales])
    _replace(node, [quantized, product, whole, both, ir.node("Mul", [whole.outputs[0], both.outputs[0]])])


def _int4(graph: ir.Graph, node: ir.Node, weight: _Weight, latest: _Latest) -> None:
    """Blocks of a column with a scale and a zero each, unpacked by the kernel as it multiplies."""
    blocks = -(-weight.k // BLOCK)

    def packed() -> tuple[npt.NDArray[np.uint8], Floats, npt.NDArray[np.uint8]]:
        from onnxruntime.capi._pybind_state import quantize_matmul_4bits

        found = np.pad(weight.by_row(), ((0, blocks * BLOCK - weight.k), (0, 0)))
        data = np.zeros((weight.n, blocks, BLOCK // 2), np.uint8)
        scales = np.zeros((weight.n, blocks), np.float32)
        zeros = np.zeros((weight.n, -(-blocks // 2)), np.uint8)
        quantize_matmul_4bits(data, found, scales, zeros, BLOCK, weight.n, weight.k, False)
        return data, scales, zeros

    name, n = weight.name, weight.n

    def part(index: int) -> Callable[[], npt.NDArray[np.generic]]:
        return lambda: latest(name, packed)[index]

    data = _lazy(graph, f"{name}.int4", part(0), ir.DataType.UINT8, (n, blocks, BLOCK // 2))
    scales = _lazy(graph, f"{name}.scale", part(1), ir.DataType.FLOAT, (n, blocks))
    zeros = _lazy(graph, f"{name}.zero", part(2), ir.DataType.UINT8, (n, -(-blocks // 2)))
    attributes = {"K": weight.k, "N": n, "bits": 4, "block_size": BLOCK, "accuracy_level": _INT8_ACTIVATIONS}
    _replace(node, [ir.node("MatMulNBits", [node.inputs[0], data, scales, zeros], attributes, domain=_MICROSOFT)])


def _lazy(
    graph: ir.Graph, name: str, make: Callable[[], npt.NDArray[np.generic]], dtype: ir.DataType, shape: tuple[int, ...]
) -> ir.Value:
    """An initializer of that name, made where there is none yet: a tied weight is stored once."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = ir.LazyTensor(lambda: ir.Tensor(make(), name=name), dtype, ir.Shape(shape), name=name)
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _replace(node: ir.Node, nodes: list[ir.Node]) -> None:
    """Put nodes in the place of one; the output of the last takes the name and uses of its output."""
    old, new = node.outputs[0], nodes[-1].outputs[0]
    assert node.graph is not None
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], nodes, [old], [new])


def _drop_unused(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if node.op_type == "Transpose" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
