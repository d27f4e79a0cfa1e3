"""A merged model as a checkpoint that transformers and vLLM load: the base's own files, with merged weights in them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ganglion.export.release import trim
from ganglion.export.weights import CheckpointWeights
from ganglion.model.tensor_file import write_tensors

SHARD_BYTES = 250_000_000
INDEX = "model.safetensors.index.json"
_OF_THE_BASE = ("README.md", ".gitattributes")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf", INDEX)


def write_checkpoint(
    base: CheckpointWeights,
    merged: Mapping[str, Tensor],
    folder: Path,
    dtype: torch.dtype,
    report: Callable[[str], None] = lambda doing: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a checkpoint folder, a shard at a time.

    Names are those that the base's files have, so that whatever loads the base loads this.

    Args:
        base: what was merged into, for its names and its other files.
        merged: the weights.
        folder: is made.
        dtype: what floating-point weights are stored in.
        report: told what is being done.
        shard_bytes: of weights in one file, and in memory; one weight alone may be larger.

    Raises:
        GanglionError: the disk is full or the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {path.name for pattern in _WEIGHTS for path in base.folder.glob(pattern)}
    for file in sorted(base.folder.iterdir()):
        if file.is_file() and file.name not in weights and file.name not in _OF_THE_BASE:
            shutil.copyfile(file, folder / file.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    _say_dtype(config, str(dtype).removeprefix("torch."))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    files: list[Path] = []
    places: dict[str, int] = {}
    for shard in _shards(base, merged, dtype, shard_bytes):
        report(f"write checkpoint, part {len(files) + 1}")
        files.append(folder / f"part-{len(files)}.safetensors")
        write_tensors(files[-1], shard)
        places |= dict.fromkeys(shard, len(files) - 1)
        shard.clear()  # before the next is read
        trim()
    _name_shards(folder, files, places)


def _shards(
    base: CheckpointWeights, merged: Mapping[str, Tensor], dtype: torch.dtype, most: int
) -> Iterator[dict[str, Tensor]]:
    """The same dictionary over and over, to be emptied by whoever has written it."""
    shard: dict[str, Tensor] = {}
    for key, name in base.keys_in_files().items():
        size = math.prod(base.shape(name)) * dtype.itemsize
        if shard and size + sum(one.nbytes for one in shard.values()) > most:
            yield shard
        tensor = merged[name]
        shard[key] = tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor
        del tensor
    if shard:
        yield shard


def _name_shards(folder: Path, files: list[Path], places: Mapping[str, int]) -> None:
    """As the hub names them: one file, or several with an index."""
    if len(files) == 1:
        files[0].rename(folder / "model.safetensors")
        return
    names = [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    size = sum(file.stat().st_size for file in files)
    for file, name in zip(files, names, strict=True):
        file.rename(folder / name)
    index = {"metadata": {"total_size": size}, "weight_map": {key: names[at] for key, at in places.items()}}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _say_dtype(config: dict[str, object], dtype: str) -> None:
    """The whole model's, and that of each part that names one."""
    config["dtype"] = dtype
    for part in config.values():
        if isinstance(part, dict) and "dtype" in part:
            part["dtype"] = dtype
