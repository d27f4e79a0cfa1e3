"""Tensors to and from the messages of Triton's gRPC protocol (KServe v2), without the copies of a general client."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from ganglion.core.errors import InputError

Array = npt.NDArray[Any]
_BY_TYPE = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
_RAW_CONTENTS = bytes([pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])  # protobuf's tag of such bytes
_TYPES = {np.dtype(kind): name for name, kind in _BY_TYPE.items()} | {np.dtype(object): "BYTES"}


def to_bytes(model: str, tensors: Mapping[str, Array], *, sequence: int, start: bool, end: bool = False) -> bytes:
    """A ModelInferRequest of a sequence, as it goes over the wire.

    All but the contents is the same for most messages of a robot, and is kept: protobuf takes a message's fields in
    pieces, one after the other.

    Args:
        model: its name.
        tensors: by input; object arrays hold bytes.
        sequence: correlation id, at least 1.
        start: it begins the sequence.
        end: it ends it.
    """
    forms = tuple((name, _TYPES[value.dtype], value.shape) for name, value in tensors.items())
    parts = [_head(model, forms, sequence, start, end)]
    for value in tensors.values():
        raw = _raw(value)
        parts += [_RAW_CONTENTS, _varint(len(raw)), raw]
    return b"".join(parts)


@lru_cache(maxsize=256)
def _head(model: str, forms: tuple[tuple[str, str, tuple[int, ...]], ...], sequence: int, *when: bool) -> bytes:
    """All of a request but its contents."""
    inputs = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype=kind, shape=shape) for name, kind, shape in forms
    ]
    message = pb.ModelInferRequest(model_name=model, inputs=inputs)
    message.parameters["sequence_id"].int64_param = sequence
    message.parameters["sequence_start"].bool_param, message.parameters["sequence_end"].bool_param = when
    head: bytes = message.SerializeToString()
    return head


def _varint(number: int) -> bytes:
    """A number in protobuf's encoding."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def to_message(model: str, tensors: Mapping[str, Array], *, sequence: int, start: bool, end: bool = False) -> Any:
    """The same as a message, to change or to look at."""
    return pb.ModelInferRequest.FromString(to_bytes(model, tensors, sequence=sequence, start=start, end=end))


def from_message(message: Any) -> dict[str, Array]:
    """Outputs of a ModelInferResponse by name; numbers are views of the message's bytes.

    Raises:
        InputError: types and sizes contradict each other.
    """
    try:
        pairs = zip(message.outputs, message.raw_output_contents, strict=True)
        return {output.name: _array(output.datatype, tuple(output.shape), raw) for output, raw in pairs}
    except (KeyError, ValueError, struct.error) as error:
        raise InputError(f"sent a message that can't be read ({error!r:.120})", where="Triton server") from None


def _raw(value: Array) -> bytes:
    if value.dtype != object:
        return value.tobytes()
    return b"".join(struct.pack("<I", len(one)) + one for one in value.ravel())


def _array(kind: str, shape: tuple[int, ...], raw: bytes) -> Array:
    if kind != "BYTES":
        return np.frombuffer(raw, _BY_TYPE[kind]).reshape(shape)
    values, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        values.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
        if at > len(raw):
            raise ValueError(f"{len(raw)} bytes end within a value")
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape)
