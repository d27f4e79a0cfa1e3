"""From an adapter folder to the model that was trained, and to the merged one that computes the same.

QLoRA trains an adapter on a base whose weights have gone through 4 bits. Only the merge into *those* weights equals
what was trained: a fresh 4-bit load, dequantized, plus the adapter. Put on the original base the adapter meets other
weights than it learned on; merged in 4 bits its sum is rounded again.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import InputError
from ganglion.core.tasks import get_task
from ganglion.export.checkpoint_files import write_checkpoint
from ganglion.export.targets import Precision
from ganglion.export.weights import (
    ADAPTER_WEIGHTS,
    CheckpointWeights,
    MergedWeights,
    filled,
    make_skeleton,
    quantized_names,
)
from ganglion.model.checkpoint import base_hash, checkpoint_folder, resolve_base
from ganglion.model.vlm import load_vlm

SCRATCH_BYTES = 64_000_000  # of merged weights that are in memory at once
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Adapter:
    """A trained adapter, checked against its base.

    base         what from_pretrained takes
    base_id      the base as the user named it
    base_hash    sha256 of the base's weights and configuration
    hash         sha256 of the adapter's weights
    quantization "nf4", or None where the base was not quantized
    dtype        what training computed in, and rounded the base's weights to
    run          all of run.json
    """

    folder: Path
    base: str
    base_id: str
    base_hash: str
    hash: str
    quantization: str | None
    dtype: torch.dtype
    run: Mapping[str, Any]


def open_adapter(folder: Path, base: str | None = None) -> Adapter:
    """Read an adapter folder and check that its base is the one it was trained on.

    Args:
        folder: what `ganglion train sft` wrote.
        base: where the base is now, if not where run.json says.

    Raises:
        InputError: the folder holds no adapter, or the base is another one.
    """
    where = folder / "run.json"
    for name in ("adapter_config.json", ADAPTER_WEIGHTS, "run.json"):
        if not (folder / name).is_file():
            raise InputError(f"holds no {name}", where=folder, remedy="give a folder that 'ganglion train sft' wrote")
    try:
        run = json.loads(where.read_text(encoding="utf-8"))
        base_id, expected = base or str(run["base"]), str(run["base_hash"])
        get_task(str(run["task"]))
    except KeyError as error:
        raise InputError(f"has no key {error}", where=where, remedy="train the adapter again") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"can't be read ({error})", where=where, remedy="train the adapter again") from None
    path = resolve_base(base_id)
    if (found := base_hash(path)) != expected:
        raise InputError(
            f"was trained on another base: {base_id!r} has hash {found[:12]}, the adapter wants {expected[:12]}",
            where=folder,
            remedy="name the base it was trained on with --base, or train again",
        )
    quantization = run.get("quantization")
    return Adapter(
        folder=folder,
        base=path,
        base_id=base_id,
        base_hash=found,
        hash=sha256_file(folder / ADAPTER_WEIGHTS),
        quantization=None if quantization == "none" else quantization,
        dtype=DTYPES.get(run.get("dtype", "float32"), torch.float32),
        run=run,
    )


def load_trained(adapter: Adapter) -> Any:
    """The model exactly as training left it: the (4-bit) base with the adapter beside it, computing as it did."""
    base = load_vlm(adapter.base, quantization=adapter.quantization, dtype=adapter.dtype, device="cpu")
    return _with_adapter(base, adapter)


def load_beside(adapter: Adapter, precision: Precision) -> Any:
    """The adapter on its base as a server reads it: in 4 bits, or whole in a type."""
    quantization = "nf4" if precision.language == "nf4" else None
    base = load_vlm(adapter.base, quantization=quantization, dtype=DTYPES[precision.vision], device="cpu")
    return _with_adapter(base, adapter)


def merged_weights(adapter: Adapter, merge: str = "exact") -> MergedWeights:
    """Float32 weights of the merged model, read one by one.

    Args:
        adapter: what to merge.
        merge: "exact" computes what `load_trained` does, without adapter and bits; "original" puts the adapter on the
            base as it is stored, whose weights it has not met.

    Raises:
        InputError: weights are missing, are not numbers, or the adapter does not fit its base.
    """
    folder = checkpoint_folder(adapter.base)
    if merge == "original":
        return MergedWeights(CheckpointWeights(folder, make_skeleton(folder)), adapter.folder)
    skeleton = make_skeleton(folder, adapter.quantization)
    return MergedWeights(
        CheckpointWeights(folder, skeleton),
        adapter.folder,
        quantized=quantized_names(skeleton),
        quantization=adapter.quantization,
        dtype=adapter.dtype,
    )


@contextlib.contextmanager
def merged_once(adapter: Adapter, merge: str = "exact", room: Path | None = None) -> Iterator[CheckpointWeights]:
    """Within, the weights of `merged_weights` are in files: merged once, then mapped by whoever reads them.

    Args:
        adapter: what to merge.
        merge: "exact" or "original".
        room: folder with room for 4 bytes a weight; default is the system's for temporary files.

    Raises:
        InputError: as of `merged_weights`.
    """
    base = checkpoint_folder(adapter.base)
    with tempfile.TemporaryDirectory(dir=room, prefix="merged-") as scratch:
        folder = Path(scratch)
        weights = CheckpointWeights(base, make_skeleton(base))
        write_checkpoint(weights, merged_weights(adapter, merge), folder, torch.float32, shard_bytes=SCRATCH_BYTES)
        yield CheckpointWeights(folder, make_skeleton(folder))


def load_merged(weights: CheckpointWeights) -> Any:
    """The model of merged weights, which are read from their files as it is asked."""
    return filled(make_skeleton(weights.folder), weights)


def merge_in_4_bits(adapter: Adapter) -> Any:
    """The adapter merged by PEFT into weights that stay in 4 bits: for comparison, since it rounds the sum anew."""
    return load_trained(adapter).merge_and_unload()


def _with_adapter(base: Any, adapter: Adapter) -> Any:
    from peft import PeftModel  # imports bitsandbytes, which ganglion.model.vlm has to quiet first

    try:
        return PeftModel.from_pretrained(base, adapter.folder).eval()
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise InputError(
            f"does not fit its base: {reason:.160}", where=adapter.folder, remedy="train it again"
        ) from error
