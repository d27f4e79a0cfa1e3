"""tf.train.Example, the message in a TFRecord: named lists of bytes, of floats or of integers.

The message is described here as TensorFlow's example.proto and feature.proto have it, and parsed by protobuf itself.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError

Values = list[bytes] | npt.NDArray[np.float32] | npt.NDArray[np.int64]
_KINDS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


def decode_example(record: bytes, wanted: Collection[str], where: object) -> dict[str, Values]:
    """Those of the wanted features that a record has: bytes as a list, numbers as a flat array.

    Raises:
        InputError: it is no Example.
    """
    from google.protobuf.message import DecodeError

    try:
        found = _example_class().FromString(record).features.feature
    except DecodeError as error:
        raise InputError(f"is no tf.train.Example ({error})", where=where, remedy="write it again") from None
    return {name: _values(found[name]) for name in wanted if name in found}


def _values(feature: Any) -> Values:
    match feature.WhichOneof("kind"):
        case "float_list":
            return np.array(feature.float_list.value, np.float32)
        case "int64_list":
            return np.array(feature.int64_list.value, np.int64)
        case _:
            return list(feature.bytes_list.value)


@functools.cache
def _example_class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tensorflow_example.proto", package="tensorflow", syntax="proto3")

    def message(name: str, within: Any = None) -> Any:
        made = (within.nested_type if within else file.message_type).add()
        made.name = name
        return made

    def add(to: Any, name: str, number: int, kind: int | str, **more: Any) -> None:
        label = field.LABEL_REPEATED if more.pop("repeated", False) else field.LABEL_OPTIONAL
        what = {"type": kind} if isinstance(kind, int) else {"type": field.TYPE_MESSAGE, "type_name": kind}
        to.field.add(name=name, number=number, label=label, **what, **more)

    scalars = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT, "Int64List": field.TYPE_INT64}
    for name, kind in scalars.items():
        add(message(name), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(_KINDS.items(), 1):
        add(feature, name, number, f".tensorflow.{kind}", oneof_index=0)
    features = message("Features")
    entry = message("FeatureEntry", features)
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, ".tensorflow.Feature")
    add(features, "feature", 1, ".tensorflow.Features.FeatureEntry", repeated=True)
    add(message("Example"), "features", 1, ".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
