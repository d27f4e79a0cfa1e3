"""A float32 graph in 8 bits with fixed scales: activations unsigned, as far as calibration saw them, weights by column.

ONNX Runtime's own static quantization (QuantizeLinear and DequantizeLinear around each product, which its optimizer
makes one whole-number product of). Only products with weights: their activations alone get scales, their results and
products of two activations stay float32. What lies beyond the range of calibration is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from ganglion.export.packing import SMALLEST

PRODUCTS = ("MatMul", "Gemm")
Feeds = Mapping[str, npt.NDArray[Any]]


def calibrate(path: Path, feeds: Sequence[Feeds]) -> None:
    """Rewrite a float32 graph in 8 bits. The same graph and feeds give the same bytes.

    Args:
        path: of the graph, its weights within.
        feeds: inputs by name of each call to calibrate on, all finite.
    """
    model = ir.load(path)
    products = _prepare(model)
    _quantize(model, products, path, feeds)
    written = ir.load(path)
    ClearMetadataAndDocStringPass()(written)
    written.producer_name = written.producer_version = None
    ir.save(written, path)


def _prepare(model: ir.Model) -> list[str]:
    """Name every node; returns the names of the products worth quantizing.

    A bias stays within its Gemm: of the two nodes that it might be, the optimizer makes one again before it looks for
    whole-number products, and then finds none.
    """
    graph = model.graph
    for index, node in enumerate(graph):
        node.name = f"node_{index}"
    # Without this mark the library asks for a preparation that the exporter has done already.
    model.metadata_props["onnx.quant.pre_process"] = "onnxruntime.quant"
    return [str(node.name) for node in graph if node.op_type in PRODUCTS and _is_worth_it(node.inputs[1])]


def _is_worth_it(weight: ir.Value | None) -> bool:
    if weight is None or not weight.is_initializer() or weight.shape is None or len(weight.shape) != 2:
        return False
    return min(weight.shape.numpy()) >= SMALLEST


def _quantize(model: ir.Model, products: list[str], path: Path, feeds: Sequence[Feeds]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
        def __init__(self) -> None:
            self._left: Iterator[Feeds] = iter(feeds)

        def get_next(self) -> Feeds | None:
            return next(self._left, None)

    quantize_static(
        ir.to_proto(model),
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(PRODUCTS),
        nodes_to_quantize=products,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"OpTypesToExcludeOutputQuantization": list(PRODUCTS)},
    )
