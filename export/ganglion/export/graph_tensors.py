"""What goes into an ONNX graph and comes out of it, read from the file without its weights beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from ganglion.core.errors import InputError

_BATCH = "batch"
_SYMBOLIC = re.compile(r"(?:(?P<factor>\d+)\*)?(?P<symbol>[a-z_]+)")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its ONNX element type, and each axis as its size or as the name of what it depends on."""

    name: str
    element: int
    axes: tuple[int | str, ...]

    def sizes(self, given: Mapping[str, int]) -> list[int]:
        """The shape where each named axis is as long as given; an axis can also be a multiple, as in "13*frames".

        Raises:
            InputError: an axis depends on what is not given.
        """
        return [axis if isinstance(axis, int) else self._size(axis, given) for axis in self.axes]

    def _size(self, axis: str, given: Mapping[str, int]) -> int:
        found = _SYMBOLIC.fullmatch(axis)
        if not found or found["symbol"] not in given:
            raise InputError(f"an axis of {self.name!r} is {axis!r}, of unknown size", remedy="export again")
        return int(found["factor"] or 1) * given[found["symbol"]]


@dataclass(frozen=True)
class GraphTensors:
    """Inputs and outputs of a graph in their order, and the names of the files beside it that hold weights."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    data_files: tuple[str, ...]

    @property
    def batched(self) -> bool:
        """Rows of several requests can be put together: every tensor counts them on its first axis."""
        return all(tensor.axes[:1] == (_BATCH,) for tensor in (*self.inputs, *self.outputs))

    @property
    def states(self) -> tuple[tuple[TensorSpec, TensorSpec], ...]:
        """Inputs that come out again, updated, as NAME_out: (before, after)."""
        outputs = {tensor.name: tensor for tensor in self.outputs}
        return tuple((i, outputs[f"{i.name}_out"]) for i in self.inputs if f"{i.name}_out" in outputs)


def read_tensors(path: Path) -> GraphTensors:
    """Read them from an ONNX file.

    Raises:
        InputError: it can't be read.
    """
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's exceptions share no base class with those of files
        raise InputError(f"is no ONNX file ({error})", where=path, remedy="export again") from None
    data = {entry.value for weight in graph.initializer for entry in weight.external_data if entry.key == "location"}
    return GraphTensors(
        tuple(_tensor(value) for value in graph.input),
        tuple(_tensor(value) for value in graph.output),
        (*sorted(data),),
    )


def _tensor(value: Any) -> TensorSpec:
    kind = value.type.tensor_type
    axes = tuple(axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in kind.shape.dim)
    return TensorSpec(value.name, kind.elem_type, axes)
