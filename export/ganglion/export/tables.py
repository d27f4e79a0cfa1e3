"""Tables whose rows are looked up, not multiplied: the embedding, in 16 bits where that loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

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
        if stored is None or not _is_table(table, stored) or any((bits & _LOW).any() for bits in _parts(_bits(stored))):
            continue
        table.const_value, table.type = _lazily_narrow(stored), ir.TensorType(ir.DataType.BFLOAT16)
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


def _lazily_narrow(stored: ir.TensorProtocol) -> ir.LazyTensor:
    def narrow() -> ir.TensorProtocol:
        found = np.empty(stored.shape.numpy(), np.uint16)
        for into, bits in zip(_parts(found), _parts(_bits(stored)), strict=True):
            np.copyto(into, bits >> 16, casting="unsafe")
        return ir.Tensor(found.view(ir.DataType.BFLOAT16.numpy()), name=stored.name)

    return ir.LazyTensor(narrow, ir.DataType.BFLOAT16, ir.Shape(stored.shape.numpy()), name=stored.name)


def _bits(stored: ir.TensorProtocol) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(stored.numpy()).view(np.uint32)


def _parts(table: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Some rows at a time, so that nothing is made of a large table as a whole."""
    return (table[start : start + _ROWS] for start in range(0, len(table), _ROWS))
