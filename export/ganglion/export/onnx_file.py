"""Writing a torch module as one ONNX file."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

OPSET = 20
_ONE_FILE_BYTES = 1_500_000_000  # protobuf ends at 2 GB; above this, weights go to NAME.onnx.data beside the graph


def write_onnx(
    module: nn.Module,
    args: tuple[Any, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Sequence[Any],
) -> None:
    """Export `module(*args)` to `path` with torch's exporter.

    Args:
        module: in eval mode, on CPU.
        args: example inputs; lists count as several graph inputs.
        path: the file; its folder is made.
        inputs: graph input names, flat.
        outputs: graph output names, flat.
        dynamic: for each argument a mapping from axis to axis name, or a list of those; {} for a fixed shape.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            args,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(dynamic),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    program.save(path, external_data=size > _ONE_FILE_BYTES)


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
