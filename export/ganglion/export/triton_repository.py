"""A Triton model repository around a bundle's graphs: `tritonserver --model-repository=BUNDLE/triton`.

triton/MODEL/config.pbtxt        what the server is told, see ganglion.export.triton_config
triton/MODEL/configs/NAME.pbtxt  another choice, taken with --model-config-name=NAME
triton/MODEL/1/model.onnx        the bundle's own file, by a hard link; weights beside it keep the name the graph knows
triton/MODEL/warmup/             data for the runs before the model is ready
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from pathlib import Path

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import InputError
from ganglion.export.graph_tensors import GraphTensors, read_tensors
from ganglion.export.pbtxt import Message, to_pbtxt
from ganglion.export.triton_config import (
    EXAMPLE_GRID,
    GRID,
    STATEFUL,
    TENSORRT,
    TENSORRT_MODELS,
    model_config,
    stateful_config,
)
from ganglion.export.triton_device import Device, find_device

FOLDER = "triton"
_PARTS = ("vlm", "policy")


def write_repository(bundle_folder: Path, device: str) -> None:
    """Write `triton/` into the folder of a bundle that is not sealed yet.

    Args:
        bundle_folder: with vlm/*.onnx, policy/*.onnx or both, and no triton/.
        device: one of ganglion.export.triton_device.DEVICES.

    Raises:
        InputError: there is no such device, or no graph, or a graph that can't be described.
    """
    found = find_device(device)
    paths = [path for part in _PARTS for path in sorted((bundle_folder / part).glob("*.onnx"))]
    if not paths:
        raise InputError("holds no ONNX graph", where=bundle_folder, remedy="export --adapter, --policy or both")
    for path in paths:
        _write_model(path, bundle_folder / FOLDER / path.stem, device, found)


def _write_model(path: Path, folder: Path, device_name: str, device: Device) -> None:
    model, graph = path.stem, read_tensors(path)
    (folder / "1").mkdir(parents=True)
    _link(path, folder / "1" / "model.onnx")
    for name in graph.data_files:
        _link(path.with_name(name), folder / "1" / name)
    for name, config in _configs(model, path, graph, device).items():
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        comment = f"{model} of this bundle for Triton on {device_name}, written by ganglion export."
        target.write_text(to_pbtxt(config, [comment]), encoding="utf-8")
    if any(tensor.name == GRID for tensor in graph.inputs):
        (folder / "warmup").mkdir()
        (folder / "warmup" / GRID).write_bytes(struct.pack("<3q", *EXAMPLE_GRID))


def _configs(model: str, path: Path, graph: GraphTensors, device: Device) -> dict[str, Message]:
    """By file name: the one that is taken when nothing is said, and those that a server can be told to take."""
    digest = _digest(path, graph) if device.gpu and model in TENSORRT_MODELS else ""
    configs = {"config.pbtxt": model_config(model, graph, device, digest, tensorrt=device.tensorrt)}
    if device.gpu and not device.tensorrt and model in TENSORRT_MODELS:
        configs[f"configs/{TENSORRT}.pbtxt"] = model_config(model, graph, device, digest, tensorrt=True)
    if graph.states:
        configs[f"configs/{STATEFUL}.pbtxt"] = stateful_config(model, graph, device, digest, tensorrt=device.tensorrt)
    return configs


def _digest(path: Path, graph: GraphTensors) -> str:
    contents = [sha256_file(file) for file in (path, *map(path.with_name, graph.data_files))]
    return hashlib.sha256(" ".join(contents).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no hard links
        shutil.copyfile(source, target)
