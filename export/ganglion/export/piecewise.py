"""A tensor that is made and written piece by piece: a weight of a gigabyte never needs a second one beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Pieces = Callable[[], Iterable[npt.NDArray[Any]]]


class PiecewiseTensor(ir.LazyTensor):
    """A tensor in pieces along its first axis.

    Args:
        pieces: makes them, in order, each time that the tensor is read.
        dtype: of all of them.
        shape: of the whole.
        name: of the tensor.
    """

    def __init__(self, pieces: Pieces, dtype: ir.DataType, shape: Iterable[int], name: str | None) -> None:
        super().__init__(lambda: ir.Tensor(_joined(list(pieces())), name=name), dtype, ir.Shape(shape), name=name)
        self._pieces = pieces

    def tofile(self, file: Any) -> None:
        """Write its bytes, with one piece in memory at a time."""
        for piece in self._pieces():
            file.write(np.ascontiguousarray(piece).view(np.uint8))


def _joined(pieces: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
