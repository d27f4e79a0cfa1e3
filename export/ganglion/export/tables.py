"""Tables whose rows are looked up, not multiplied: the embedding, in 16 bits where that loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ganglion.export.piecewise import PiecewiseTensor

_ROWS = 1 << 14  # looked at, or written, at a time
_SMALLEST = 1 << 16  # values, of which fewer are not worth another type
_LOW = np.uint32(0xFFFF)  # the bits of a float32 that bfloat16 has not


def narrow_tables(model: ir.Model) -> None:
    """Store each table that bfloat16 holds exactly in it, in place, and widen what is looked up.

    Bases are published in bfloat16, and an adapter leaves their embedding as it is: half the bytes for the same result.

    Args:
        model: as the exporter made it.
    """
    for table in list(model.graph.initializers.values()):
        stored = table.const_value
        if stored is None or not _is_table(table, stored) or any((bits & _LOW).any() for bits in _pieces(stored)):
            continue
        table.const_value, table.type = _narrow(stored), ir.TensorType(ir.DataType.BFLOAT16)
        for use in list(table.uses()):
            _widen(model.graph, use.node)


def _is_table(value: ir.Value, stored: ir.TensorProtocol) -> bool:
    """Large, in float32, and used for nothing but being looked up by row."""
    if stored.dtype != ir.DataType.FLOAT or len(stored.shape) != 2 or stored.size < _SMALLEST:
        return False
    return all(
        use.node.op_type == "Gather" and use.idx == 0 and not use.node.attributes.get_int("axis", 0)
        for use in value.uses()
    )


def _widen(graph: ir.Graph, lookup: ir.Node) -> None:
    """Put a Cast behind it."""
    rows, cast = lookup.outputs[0], ir.node("Cast", [lookup.outputs[0]], {"to": ir.DataType.FLOAT})
    ir.convenience.replace_all_uses_with(rows, cast.outputs[0], replace_graph_outputs=True)
    cast.replace_input_with(0, rows)
    rows.type = ir.TensorType(ir.DataType.BFLOAT16)
    graph.insert_after(lookup, cast)


def _narrow(stored: ir.TensorProtocol) -> PiecewiseTensor:
    kind = ir.DataType.BFLOAT16

    def pieces() -> Iterator[npt.NDArray[Any]]:
        return ((bits >> 16).astype(np.uint16).view(kind.numpy()) for bits in _pieces(stored))

    return PiecewiseTensor(pieces, kind, stored.shape.numpy(), stored.name)


def _pieces(stored: ir.TensorProtocol) -> Iterator[npt.NDArray[np.uint32]]:
    """The bits, some rows at a time."""
    bits = np.ascontiguousarray(stored.numpy()).view(np.uint32)
    for start in range(0, len(bits), _ROWS):
        yield bits[start : start + _ROWS]
