"""Writing a torch module as one ONNX file, its weights one after the other, in the precision that was asked for.

The graph is traced with hollow weights (shapes without content); each real one is read and packed when it is its
turn to be written. Large ones go to a file beside the graph one by one; a small model is put together in memory.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ganglion.export.packing import pack_weights
from ganglion.export.tables import narrow_tables

OPSET = 20
ONE_FILE_BYTES = 200_000_000  # above this, weights go to NAME.onnx.data one by one; a single file is whole in memory
Read = Callable[[nn.Parameter], Tensor]


class TracedModule:
    """A module as a graph without weights, traced once with torch's exporter and written as often as it is needed.

    Args:
        module: in float32, on the CPU or on the meta device; it is left as it was.
        args: example inputs; lists count as several graph inputs.
        inputs: graph input names, flat.
        outputs: graph output names, flat.
        dynamic: for each argument a mapping from axis to axis name, or a list of those; {} for a fixed shape.
    """

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        dynamic: Sequence[Any],
    ) -> None:
        self._parameters = dict(module.named_parameters(remove_duplicate=False))
        self._graph = _trace(module.eval(), args, inputs, outputs, dynamic)

    def write(self, path: Path, *, precision: str | Mapping[str, str] = "float32", read: Read | None = None) -> None:
        """Write the graph with its weights.

        Args:
            path: the file; its folder is made.
            precision: what products with weights compute in, or those of them whose names begin so, see packing.py.
            read: gives the weights of a parameter, float32 on the CPU; default is the parameter itself.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        model = self._graph.clone()
        _give_weights(model, self._parameters, read or nn.Parameter.detach)
        narrow_tables(model)
        pack_weights(model, precision)
        ClearMetadataAndDocStringPass()(model)
        size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
        ir.save(model, path, external_data=f"{path.name}.data" if size > ONE_FILE_BYTES else None)


def write_onnx(
    module: nn.Module,
    args: tuple[Any, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Sequence[Any],
    precision: str | Mapping[str, str] = "float32",
) -> None:
    """Trace a module and write it with its own weights, see TracedModule."""
    TracedModule(module, args, inputs=inputs, outputs=outputs, dynamic=dynamic).write(path, precision=precision)


def _trace(
    module: nn.Module, args: tuple[Any, ...], inputs: Sequence[str], outputs: Sequence[str], dynamic: Sequence[Any]
) -> ir.Model:
    """The graph; initializers that are parameters have no value."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    names = set(dict(module.named_parameters(remove_duplicate=False)))
    with _hollowed(module, mode), torch.no_grad(), _quiet(), mode:
        program = torch.onnx.export(
            module,
            _hollow(args, mode),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(dynamic),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,  # it would fold weights that are not there yet
        )
    assert program is not None
    model = program.model
    for name in names & model.graph.initializers.keys():
        model.graph.initializers[name].const_value = None
    with _quiet():
        optimize_ir(model)
    _divide_by_roots(model.graph)
    return model


def _divide_by_roots(graph: ir.Graph) -> None:
    """Turn x * (1 / sqrt(v)) into x / sqrt(v), the form in which runtimes know a root mean square norm."""
    for root in [node for node in graph if node.op_type == "Sqrt"]:
        for inverse in [node for node in root.outputs[0].consumers() if node.op_type == "Reciprocal"]:
            (value,) = inverse.outputs
            for product in [node for node in value.consumers() if node.op_type == "Mul"]:
                divided = next(x for x in product.inputs if x is not value)
                new = ir.node("Div", [divided, root.outputs[0]])
                old = product.outputs
                ir.convenience.replace_nodes_and_values(graph, product, [product], [new], old, new.outputs)
            if not value.uses():
                graph.remove(inverse, safe=True)


def _give_weights(model: ir.Model, parameters: Mapping[str, nn.Parameter], read: Read) -> None:
    for name in parameters.keys() & model.graph.initializers.keys():
        parameter = parameters[name]

        def load(parameter: nn.Parameter = parameter, name: str = name) -> ir.TensorProtocol:
            return ir.Tensor(read(parameter).numpy(), name=name)

        shape = ir.Shape(tuple(parameter.shape))
        model.graph.initializers[name].const_value = ir.LazyTensor(load, ir.DataType.FLOAT, shape, name=name)


@contextlib.contextmanager
def _hollowed(module: nn.Module, mode: FakeTensorMode) -> Iterator[None]:
    """Within, parameters are tensors without content."""
    owners = [(owner, dict(owner._parameters)) for owner in module.modules()]
    hollow: dict[int, nn.Parameter] = {}
    try:
        for owner, parameters in owners:
            for name, old in parameters.items():
                if old is None:
                    continue
                if id(old) not in hollow:
                    with mode:
                        hollow[id(old)] = nn.Parameter(torch.empty(old.shape, dtype=old.dtype), requires_grad=False)
                owner._parameters[name] = hollow[id(old)]
        yield
    finally:
        for owner, parameters in owners:
            owner._parameters.update(parameters)


def _hollow(args: Any, mode: FakeTensorMode) -> Any:
    if isinstance(args, Tensor):
        return mode.from_tensor(args)
    return type(args)(_hollow(arg, mode) for arg in args)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and deprecation notes out of the user's terminal; errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
