"""RLDS data sets as TensorFlow Datasets writes them, without TensorFlow and without our reader.

Records are framed by TensorBoard's writer; messages are put together byte by byte from protobuf's wire format.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from demonstrations_for_test import encoded, picture
from tensorboard.summary.writer.record_writer import RecordWriter

BLACK = encoded(np.zeros((12, 16, 3), np.uint8))


def varint(value: int) -> bytes:
    """A number in protobuf's base 128; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values: Any) -> bytes:
    """A tf.train.Feature: bytes, floats (packed) or integers (packed), by the first value."""
    values = np.asarray(values).ravel().tolist() if isinstance(values, np.ndarray) else list(values)
    if values and isinstance(values[0], float):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    if values and isinstance(values[0], int):
        return field(3, field(1, b"".join(map(varint, values))))
    return field(1, b"".join(field(1, value) for value in values))


def example(features: Mapping[str, Any]) -> bytes:
    """A tf.train.Example."""
    entries = (field(1, field(1, name.encode()) + field(2, feature(values))) for name, values in features.items())
    return field(1, b"".join(entries))


def steps(count: int, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """The features of an episode: two cameras, one of them black."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "steps/action": rng.uniform(-1, 1, (count, 3)).astype(np.float32),
        "steps/observation/state": rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        "steps/observation/image_0": [picture(seed * 100 + k) for k in range(count)],
        "steps/observation/image_1": [BLACK] * count,
        "steps/language_instruction": [b"push"] * count,
        "steps/is_first": [int(k == 0) for k in range(count)],
        "episode_metadata/file_path": [f"/raw/{seed % 2}.npy".encode()],
        "episode_metadata/episode_id": [seed],
    }
    changed = {name.replace("__", "/"): values for name, values in changes.items()}
    return {name: values for name, values in {**made, **changed}.items() if values is not None}


def write_records(path: Path, records: Sequence[bytes]) -> None:
    """A TFRecord file."""
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(record)


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    """How features.json describes numbers."""
    return {"tensor": {"shape": {"dimensions": [str(n) for n in shape]}, "dtype": dtype, "encoding": "none"}}


def image(height: int = 12, width: int = 16, dtype: str = "uint8") -> dict[str, Any]:
    """How features.json describes images."""
    dimensions = [str(height), str(width), "3"]
    return {"image": {"shape": {"dimensions": dimensions}, "dtype": dtype, "encodingFormat": "jpeg"}}


def group(**features: Any) -> dict[str, Any]:
    """How features.json describes features that belong together."""
    return {"featuresDict": {"features": features}}


def described(observation: Mapping[str, Any] | None = None, **step: Any) -> dict[str, Any]:
    """features.json of what `steps` makes, or with other features."""
    seen = {"image_0": image(), "image_1": image(), "state": tensor("float32", 2), "depth": image(dtype="uint16")}
    usual = {"action": tensor("float32", 3), "language_instruction": {"text": {}}, "is_first": tensor("bool")}
    step = {name: about for name, about in {**usual, **step}.items() if about is not None}
    inner = group(observation=group(**(seen if observation is None else observation)), **step)
    metadata = group(file_path={"text": {}}, episode_id=tensor("int32"))
    return group(steps={"sequence": {"feature": inner, "length": "-1"}}, episode_metadata=metadata)


def write_set(folder: Path, *episodes: Mapping[str, Any], features: Any = None, split: str = "train") -> Path:
    """A folder as TensorFlow Datasets writes it, in one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps(features or described()))
    info = {"name": "tiny", "version": "2.0.0", "splits": [{"name": split, "shardLengths": [str(len(episodes))]}]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    write_records(folder / f"tiny-{split}.tfrecord-00000-of-00001", [example(one) for one in episodes])
    return folder
