"""Products with weights in the precision that was asked for: what a graph computes, and how its weights are stored.

    float32  as they are
    float16  weights in 16 bits; activations in 16 bits, each row as a share of its largest magnitude
    int8     weights in 8 bits, one scale for each column; activations in 8 bits, one scale for each row
    int4     weights in 4 bits, one scale for each 32 of a column; activations in 8 bits where the machine gains by it

Products of two activations (attention) keep float32: in 8 bits they lose what a policy was trained for. So do norms,
softmax, carried state, and products too small to gain by it. No row's result depends on another row: not on what else
is in its batch, and not on a token with far larger activations than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ganglion.export.piecewise import Pieces, PiecewiseTensor

BLOCK = 32  # weights of a column that share a scale
SMALLEST = 32  # rows or columns of a weight, of which fewer gain nothing
_MICROSOFT = "com.microsoft"
_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level
_STEP, _MIDDLE = np.float32(1 / 127), np.uint8(128)  # 8 bits from -1 to 1; unsigned, for which the kernels are made
_COPIED = 1 << 23  # values
_TINY = np.float32(1e-30)  # divides a row of zeros
Floats = npt.NDArray[np.float32]


def pack_weights(model: ir.Model, precision: str | Mapping[str, str]) -> None:
    """Rewrite each product with a weight, in place; weights are read when the model is saved.

    Args:
        model: as the exporter made it.
        precision: of all products; or by how the names of their weights begin, float32 where none fits.
    """
    kinds = {"float32": _plain, "float16": _float16, "int8": _int8, "int4": _int4}
    parts = {"": precision} if isinstance(precision, str) else precision
    shared = _Shared()
    if set(parts.values()) != {"float32"}:
        model.graph.opset_imports[_MICROSOFT] = 1
        _part_biases(model.graph)
    for node in list(model.graph):
        if node.op_type == "MatMul" and (weight := _Weight.of(node)):
            asked = next((of for start, of in parts.items() if weight.name.startswith(start)), "float32")
            rewrite = kinds[asked if min(weight.k, weight.n) >= SMALLEST else "float32"]
            rewrite(model.graph, node, weight, shared)
    _drop_unused(model.graph)


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

    def by_columns(self) -> Iterator[tuple[slice, Floats]]:
        """Some columns at a time, and (K, them), contiguous: so a large weight is not copied whole."""
        stored, step = self._read(), max(1, _COPIED // self.k)
        for start in range(0, self.n, step):
            at = slice(start, min(start + step, self.n))
            yield at, np.ascontiguousarray(stored[at].T if self._transposed else stored[:, at])

    def by_rows(self) -> Iterator[Floats]:
        """(K, N), some rows at a time, contiguous."""
        stored, step = self._read(), max(1, _COPIED // self.n)
        for start in range(0, self.k, step):
            at = slice(start, start + step)
            yield np.ascontiguousarray(stored[:, at].T if self._transposed else stored[at])

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


class _Shared:
    """What products share.

    rows  (activations, bits) -> they in so many bits, and the largest magnitude of each row
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[ir.Value, int], tuple[ir.Value, ir.Value]] = {}
        self._name, self._parts = "", ()

    def part(self, name: str, make: Callable[[], tuple[Any, ...]], index: int) -> Pieces:
        """One of the parts of that weight. They are kept until the next weight's: all are written one by one."""

        def pieces() -> Iterable[npt.NDArray[Any]]:
            if self._name != name:
                self._parts = ()  # freed before the next is made
                self._name, self._parts = name, make()
            return (self._parts[index],)

        return pieces


def _part_biases(graph: ir.Graph) -> None:
    """Make two nodes of x @ w + b, where the exporter made one."""
    for node in list(graph):
        if node.op_type != "Gemm":
            continue
        assert all(node.attributes.get_float(name, 1.0) == 1 for name in ("alpha", "beta"))
        x, weight, *bias = node.inputs
        turned = [
            ir.node("Transpose", [side], {"perm": [1, 0]}) for side in [weight] if node.attributes.get_int("transB", 0)
        ]
        product = ir.node("MatMul", [x, turned[0].outputs[0] if turned else weight])
        _replace(node, [*turned, product, *(ir.node("Add", [product.outputs[0], one]) for one in bias)])


def _plain(graph: ir.Graph, node: ir.Node, weight: _Weight, shared: _Shared) -> None:
    """As it is, but turned once and for all."""
    if node.inputs[1] is not weight.value:
        turned = _lazy(graph, f"{weight.name}.T", weight.by_rows, ir.DataType.FLOAT, (weight.k, weight.n))
        node.replace_input_with(1, turned)


def _int8(graph: ir.Graph, node: ir.Node, weight: _Weight, shared: _Shared) -> None:
    """Activations in 8 bits with a scale for each row, a whole-number product, scaled back by column and row."""

    def packed() -> tuple[npt.NDArray[np.int8], Floats]:
        data, scale = np.empty((weight.k, weight.n), np.int8), np.empty(weight.n, np.float32)
        for at, found in weight.by_columns():
            largest = np.abs(found).max(0)
            scale[at] = np.where(largest > 0, largest, 1) / np.float32(127)
            data[:, at] = np.rint(found / scale[at])
        return data, scale

    name, shape, x = weight.name, (weight.k, weight.n), node.inputs[0]
    assert x is not None
    stored = _lazy(graph, f"{name}.int8", shared.part(name, packed, 0), ir.DataType.INT8, shape)
    scales = _lazy(graph, f"{name}.scale", shared.part(name, packed, 1), ir.DataType.FLOAT, shape[1:])
    made, rows, largest = _rows(graph, x, 8, shared)
    step, middle = _constant(graph, "int8.step", _STEP), _constant(graph, "int8.middle", _MIDDLE)
    product = ir.node("MatMulIntegerToFloat", [rows, stored, step, scales, middle], domain=_MICROSOFT)
    _replace(node, [*made, product, ir.node("Mul", [product.outputs[0], largest])])


def _float16(graph: ir.Graph, node: ir.Node, weight: _Weight, shared: _Shared) -> None:
    """No activation overflows in 16 bits, however large: a robot's sensor may say anything."""
    name, x = f"{weight.name}.float16", node.inputs[0]
    assert x is not None

    def packed() -> Iterator[npt.NDArray[np.float16]]:
        return (rows.astype(np.float16) for rows in weight.by_rows())

    stored = _lazy(graph, name, packed, ir.DataType.FLOAT16, (weight.k, weight.n))
    made, rows, largest = _rows(graph, x, 16, shared)
    product = ir.node("MatMul", [rows, stored])
    whole = ir.node("Cast", product.outputs, {"to": ir.DataType.FLOAT})
    _replace(node, [*made, product, whole, ir.node("Mul", [whole.outputs[0], largest])])


def _rows(graph: ir.Graph, x: ir.Value, bits: int, shared: _Shared) -> tuple[list[ir.Node], ir.Value, ir.Value]:
    """Activations in 8 or 16 bits, divided by the largest magnitude of each row, and that; first the new nodes.

    With one scale for the whole tensor, as DynamicQuantizeLinear has it, an answer would depend on what else is in its
    batch, and one token with large activations, as language models have them (Sun et al. 2024, arXiv 2402.17762), would
    leave the others no bits.
    """
    if (x, bits) in shared.rows:
        return [], *shared.rows[x, bits]
    magnitude = ir.node("Abs", [x])
    last_axis = _constant(graph, "rows.last_axis", np.array([-1]))
    largest = ir.node("ReduceMax", [magnitude.outputs[0], last_axis], {"keepdims": 1})
    divisor = ir.node("Max", [largest.outputs[0], _constant(graph, "rows.tiny", _TINY)])
    share = ir.node("Div", [x, divisor.outputs[0]])
    if bits == 8:
        step, middle = _constant(graph, "int8.step", _STEP), _constant(graph, "int8.middle", _MIDDLE)
        rounded = ir.node("QuantizeLinear", [share.outputs[0], step, middle])
    else:
        rounded = ir.node("Cast", [share.outputs[0]], {"to": ir.DataType.FLOAT16})
    shared.rows[x, bits] = rounded.outputs[0], divisor.outputs[0]
    return [magnitude, largest, divisor, share, rounded], *shared.rows[x, bits]


def _int4(graph: ir.Graph, node: ir.Node, weight: _Weight, shared: _Shared) -> None:
    """Blocks of a column with a scale and a zero each, unpacked by the kernel as it multiplies."""
    blocks = -(-weight.k // BLOCK)

    def packed() -> tuple[npt.NDArray[np.uint8], Floats, npt.NDArray[np.uint8]]:
        from onnxruntime.capi._pybind_state import quantize_matmul_4bits

        data = np.zeros((weight.n, blocks, BLOCK // 2), np.uint8)
        scales = np.zeros((weight.n, blocks), np.float32)
        zeros = np.zeros((weight.n, -(-blocks // 2)), np.uint8)
        for at, found in weight.by_columns():
            padded = np.pad(found, ((0, blocks * BLOCK - weight.k), (0, 0)))
            parts = data[at], padded, scales[at], zeros[at]
            quantize_matmul_4bits(*parts, BLOCK, padded.shape[1], weight.k, False)
        return data, scales, zeros

    name, n = weight.name, weight.n
    data = _lazy(graph, f"{name}.int4", shared.part(name, packed, 0), ir.DataType.UINT8, (n, blocks, BLOCK // 2))
    scales = _lazy(graph, f"{name}.scale", shared.part(name, packed, 1), ir.DataType.FLOAT, (n, blocks))
    zeros = _lazy(graph, f"{name}.zero", shared.part(name, packed, 2), ir.DataType.UINT8, (n, -(-blocks // 2)))
    attributes = {"K": weight.k, "N": n, "bits": 4, "block_size": BLOCK, "accuracy_level": _INT8_ACTIVATIONS}
    _replace(node, [ir.node("MatMulNBits", [node.inputs[0], data, scales, zeros], attributes, domain=_MICROSOFT)])


def _constant(graph: ir.Graph, name: str, value: Any) -> ir.Value:
    """An initializer of that name, made where there is none yet."""
    if name not in graph.initializers:
        graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(np.asarray(value), name=name)))
    return graph.initializers[name]


def _lazy(graph: ir.Graph, name: str, pieces: Pieces, dtype: ir.DataType, shape: tuple[int, ...]) -> ir.Value:
    """An initializer of that name, made where there is none yet: a tied weight is stored once."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = PiecewiseTensor(pieces, dtype, shape, name)
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
