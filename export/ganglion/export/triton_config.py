"""The Triton configuration of one graph: what it says about tensors is the graph's own, the rest is decided here.

Batching: requests are put together where every tensor counts rows on its first axis, which is the policy's models.
Elsewhere a first axis counts patches or tokens of one request (vision, embed), or is not the batch (decoder): those
take one request at a time. A batch never waits for more robots: what arrives while one runs makes the next, so batches
grow with the load by themselves, and any wait would be added to each tick.

State: sensor_stream takes its state and gives it back, as any other tensor. So hops of different robots share a batch,
whoever holds the state can reset it at a gap, and the model runs on every backend. A second configuration, `stateful`,
lets the server hold it (implicit state, which the C++ onnxruntime backend has): at size small that saves 62 kB each way
beside a hop of 53 kB in float32. But robots share no batch then, and one that was silent for `_IDLE_US` starts anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganglion.core.errors import InputError
from ganglion.export.graph_tensors import GraphTensors, TensorSpec
from ganglion.export.pbtxt import Message, Name
from ganglion.export.triton_device import Device

_TICK = ("sensor_stream", "action_head")  # a control tick waits for these
STATEFUL, TENSORRT = "stateful", "tensorrt"
GRID = "image_grid_thw"
EXAMPLE_GRID = (1, 16, 16)  # one picture of 224 pixels in patches of 14; divisible by every merge size

_PICTURE = {"patches": 256, "images": 1}
# What a model is run on before it is ready: the shapes it will mostly see. TensorRT takes the ranges of its engine from
# them; shapes in between need no other. Ranges that were written down would have to name each tensor where it takes the
# graph apart, or the model would not load.
_WARMUP: dict[str, dict[str, dict[str, int]]] = {
    "vision": {"picture": _PICTURE},
    "embed": {"prompt": {"batch": 1, "tokens": 128, "image_tokens": 64}},
    "decoder": {
        "prompt": {"batch": 1, "tokens": 128, "cached_tokens": 0, "all_tokens": 128, "rows": 1},
        "step": {"batch": 1, "tokens": 1, "cached_tokens": 128, "all_tokens": 129, "rows": 1},
    },
    "vl_encoder": {"picture": {**_PICTURE, "tokens": 128}},
    "sensor_stream": {"hop": {"frames": 1}, "window": {"frames": 50}},
    "action_head": {"tick": {"tokens": 128}},
}
# What TensorRT runs. Not the decoder, whose cache grows by a token at each step, nor embed, a look-up.
TENSORRT_MODELS = ("vision", "vl_encoder", "sensor_stream", "action_head")
_CACHE = "/var/cache/ganglion-tensorrt"
_IDLE_US = 5_000_000
_MOST_SEQUENCES = 64
# By onnx.TensorProto.DataType.
_TYPES = {1: "FP32", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "FP16", 11: "FP64", 16: "BF16"}


def model_config(model: str, graph: GraphTensors, device: Device, digest: str, *, tensorrt: bool = False) -> Message:
    """The message ModelConfig for a graph.

    Args:
        model: its name; one that is unknown here gets no warm-up.
        graph: its tensors.
        device: the machine it is for.
        digest: of graph and weights, where TensorRT runs it: cached engines are named after it. ONNX Runtime's own name
            for them is of the graph alone, by which those of other weights would be taken.
        tensorrt: run in float16 by TensorRT, on a GPU.

    Raises:
        InputError: an axis of the graph is unknown here.
    """
    batch = device.most_robots if graph.batched else 0
    return {
        **_identity(model, batch),
        "input": [_tensor(tensor, bool(batch)) for tensor in graph.inputs],
        "output": [_tensor(tensor, bool(batch)) for tensor in graph.outputs],
        **({"dynamic_batching": {"max_queue_delay_microseconds": 0}} if batch else {}),
        **_execution(model, device, digest, tensorrt),
        "model_warmup": _warmup(model, graph, batch),
    }


def stateful_config(model: str, graph: GraphTensors, device: Device, digest: str, *, tensorrt: bool = False) -> Message:
    """The same for a graph with states, held by the server for each sequence; takes `model_config`'s arguments.

    A batch is one row of one robot: `seen` has no axis beside the batch's, and a state can't be reshaped. There is no
    warm-up: the server runs it without a sequence, where the backend finds no state and fails.
    """
    before, after = zip(*graph.states, strict=True)
    inputs = [_tensor(_one_row(tensor), False) for tensor in graph.inputs if tensor not in before]
    return {
        **_identity(model, 0),
        "input": inputs,
        "output": [_tensor(tensor, False) for tensor in graph.outputs if tensor not in after],
        "sequence_batching": {
            "max_sequence_idle_microseconds": _IDLE_US,
            "oldest": {"max_candidate_sequences": _MOST_SEQUENCES},
            "state": [_state(*pair) for pair in graph.states],
        },
        **_execution(model, device, digest, tensorrt),
    }


def _identity(model: str, batch: int) -> dict[str, Any]:
    # Version 1 alone: nothing else belongs into a sealed bundle, and nothing else is served.
    return {
        "name": model,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [1]}},
        "max_batch_size": batch,
    }


def _tensor(tensor: TensorSpec, batched: bool) -> dict[str, Any]:
    dims = [axis if isinstance(axis, int) else -1 for axis in tensor.axes[batched:]]
    # A tensor of one number a row: clients send (batch, 1), since Triton has no tensor without axes.
    shape = {"dims": dims} if dims else {"dims": [1], "reshape": {"shape": []}}
    return {"name": tensor.name, "data_type": _type(tensor), **shape}


def _one_row(tensor: TensorSpec) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.element, (1, *tensor.axes[1:]))


def _type(tensor: TensorSpec) -> Name:
    if tensor.element not in _TYPES:
        raise InputError(f"{tensor.name!r} is of ONNX type {tensor.element}", remedy=f"use one of {[*_TYPES.values()]}")
    return Name(f"TYPE_{_TYPES[tensor.element]}")


def _state(before: TensorSpec, after: TensorSpec) -> dict[str, Any]:
    form = {"data_type": _type(before), "dims": [1, *before.axes[1:]]}
    start = {"name": "fresh", **form, "zero_data": True}
    return {"input_name": before.name, "output_name": after.name, **form, "initial_state": [start]}


def _execution(model: str, device: Device, digest: str, tensorrt: bool) -> dict[str, Any]:
    tick = model in _TICK
    optimization: dict[str, Any] = {"priority": Name("PRIORITY_MAX")} if tick else {}
    if tensorrt and model in TENSORRT_MODELS:
        optimization["execution_accelerators"] = {"gpu_execution_accelerator": [_tensorrt(model, device, digest)]}
    threads = {"intra_op_thread_count": 1 if tick else device.threads, "inter_op_thread_count": 1, "execution_mode": 0}
    return {
        "instance_group": [
            {
                "kind": Name("KIND_GPU" if device.gpu else "KIND_CPU"),
                "count": device.tick_instances if tick else 1,
            }
        ],
        **({"optimization": optimization} if optimization else {}),
        "parameters": [{"key": key, "value": {"string_value": str(value)}} for key, value in threads.items()],
    }


def _tensorrt(model: str, device: Device, digest: str) -> dict[str, Any]:
    values = {
        "precision_mode": "FP16",
        "max_workspace_size_bytes": str(device.workspace_bytes),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": _CACHE,
        "trt_engine_cache_prefix": f"{model}_{digest[:16]}",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": _CACHE,
    }
    return {"name": "tensorrt", "parameters": [{"key": key, "value": value} for key, value in values.items()]}


def _warmup(model: str, graph: GraphTensors, batch: int) -> list[dict[str, Any]]:
    return [
        {
            "name": name if rows == 1 else f"{name} of {rows} robots",
            "batch_size": rows,
            "inputs": [{"key": tensor.name, "value": _sample(tensor, sizes, bool(batch))} for tensor in graph.inputs],
        }
        for name, sizes in _WARMUP.get(model, {}).items()
        for rows in ((1, batch) if batch else (1,))
    ]


def _sample(tensor: TensorSpec, sizes: Mapping[str, int], batched: bool) -> dict[str, Any]:
    # Zeros will do, for all but the sizes of a picture: they must agree with its patches.
    content = {"input_data_file": GRID} if tensor.name == GRID else {"zero_data": True}
    shape = tensor.sizes({"batch": 1, **sizes})[batched:]
    return {"data_type": _type(tensor), "dims": shape or [1], **content}
