"""The values of a feature as a column of Parquet, and back: plain numbers, fixed lists, or lists of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.lerobot.layout import AGAIN, Feature

_BATCH_BYTES = 2**25


def rows_at_once(features: Sequence[Feature]) -> int:
    """How many rows to hold in memory together: some 32 MB of them."""
    types = ("uint8" if feature.dtype == "image" else feature.dtype for feature in features)
    row = sum(np.dtype(one).itemsize * int(np.prod(f.shape)) for one, f in zip(types, features, strict=True))
    return max(1, min(_BATCH_BYTES // row, 10_000))


def table(values: Mapping[str, npt.NDArray[Any]], features: Sequence[Feature]) -> pa.Table:
    """Rows as LeRobot writes them; each feature's values are (rows, *shape)."""
    return pa.table({feature.key: _column(values[feature.key], feature) for feature in features})


def _column(values: npt.NDArray[Any], feature: Feature) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if feature.shape == (1,):
        return flat
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])
    for width in reversed(feature.shape):
        flat = pa.ListArray.from_arrays(np.arange(0, len(flat) + 1, width, dtype=np.int32), flat)
    return flat


def values_of(batch: pa.RecordBatch, feature: Feature, where: object) -> npt.NDArray[Any]:
    """What a feature shows in some rows, (rows, *shape) of its type; plain numbers are (rows,).

    Raises:
        InputError: the column is missing, or holds something else.
    """
    key, count = feature.key, len(batch)
    if key not in batch.schema.names:
        raise InputError(f"has no column {key!r}", where=where, remedy=AGAIN)
    flat = batch.column(key)
    while isinstance(flat.type, pa.BaseExtensionType) or pa.types.is_nested(flat.type):
        if flat.null_count or pa.types.is_struct(flat.type):
            break
        flat = flat.storage if isinstance(flat.type, pa.BaseExtensionType) else flat.flatten()
    shape = (count,) if feature.shape == (1,) else (count, *feature.shape)
    number = pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type) or pa.types.is_boolean(flat.type)
    if flat.null_count or not number or len(flat) != np.prod(shape):
        raise InputError(
            f"column {key!r} holds {batch.schema.field(key).type}, {len(flat)} values and {flat.null_count} nulls",
            where=where,
            remedy=f"meta/info.json says {feature.dtype} {feature.shape} for each of {count} rows",
        )
    return np.asarray(flat.to_numpy(zero_copy_only=False)).astype(feature.dtype, copy=False).reshape(shape)
