"""Which folders vLLM is to load, under which names, for one bundle or for several adapters of one base."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.checkpoint_hash import checkpoint_hash
from ganglion.core.errors import BundleError, InputError
from ganglion.core.manifest import VlmPart

BASE_NAME = "base"
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vllm/config/lora.py: MaxLoRARanks


@dataclass(frozen=True)
class AdapterPlan:
    """An adapter beside its base.

    name    it is asked for by
    rank    its largest
    vision  whether it changes the vision tower or what connects it
    """

    name: str
    folder: Path
    rank: int
    vision: bool


@dataclass(frozen=True)
class ModelPlan:
    """What one vLLM loads.

    model     folder of a checkpoint
    name      it is asked for by; of a base, beside its adapters
    part      of the first bundle
    adapters  none for a merged checkpoint
    """

    model: Path
    name: str
    part: VlmPart
    context_tokens: int
    adapters: tuple[AdapterPlan, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the bundles' models."""
        return tuple(adapter.name for adapter in self.adapters) or (self.name,)


def plan_model(bundles: Sequence[Path], base: Path | None = None) -> ModelPlan:
    """Open the bundles and see what of them one vLLM can serve.

    Raises:
        BundleError: one is damaged.
        InputError: one holds no VLM in a form that vLLM loads, or they do not go together, or the base is not there.
    """
    opened = [open_bundle(path) for path in bundles]
    parts = [_part(bundle) for bundle in opened]
    if [part.form for part in parts] == ["checkpoint"]:
        if base is not None:
            raise InputError("--vllm.base is for adapters, this bundle is merged", where=bundles[0], remedy="drop it")
        return ModelPlan(opened[0].root / "vlm", parts[0].task, parts[0], parts[0].context_tokens)
    _check_together(opened, parts)
    adapters = tuple(_adapter(bundle, part) for bundle, part in zip(opened, parts, strict=True))
    folder = find_base(parts[0], base)
    return ModelPlan(folder, BASE_NAME, parts[0], min(part.context_tokens for part in parts), adapters)


def find_base(part: VlmPart, base: Path | None) -> Path:
    """The folder of an adapter's base: as given, or where it was in training.

    Raises:
        InputError: it is not there, or is another one.
    """
    remedy = "give its folder with --vllm.base"
    folder = base or Path(part.base_id).expanduser()
    if not folder.is_dir():
        if base is not None or (found := _from_hub(part.base_id)) is None:
            raise InputError("is no folder here", where=f"base {base or part.base_id}", remedy=remedy)
        folder = found
    if not (folder / "config.json").is_file():
        raise InputError("holds no config.json", where=folder, remedy=remedy)
    if (found_hash := checkpoint_hash(folder)) != part.base_hash:
        raise InputError(
            f"has hash {found_hash[:12]}, the adapter was trained on {part.base_hash[:12]}", where=folder, remedy=remedy
        )
    return folder


def _from_hub(name: str) -> Path | None:
    """A hub checkpoint's folder in the hub's cache; None where it is not there. Nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def _part(bundle: Bundle) -> VlmPart:
    part = bundle.manifest.vlm
    if part is None:
        raise InputError("holds no VLM", where=bundle.root, remedy="serve one that was exported with --adapter")
    if part.form == "onnx":
        raise InputError(
            "holds ONNX graphs, which vLLM can't load", where=bundle.root, remedy="export it with --target vllm"
        )
    return part


def _check_together(bundles: Sequence[Bundle], parts: Sequence[VlmPart]) -> None:
    for bundle, part in zip(bundles, parts, strict=True):
        if part.form != "adapter":
            raise InputError("is merged, and one vLLM serves one model", where=bundle.root, remedy="serve it alone")
        if (part.base_hash, part.precision) != (parts[0].base_hash, parts[0].precision):
            raise InputError(
                f"is of another base or precision than {bundles[0].root}", where=bundle.root, remedy="serve it alone"
            )
    tasks = [part.task for part in parts]
    if len(set(tasks)) < len(tasks):
        raise InputError(f"two of these bundles are of one task: {tasks}", remedy="serve one of each")


def _adapter(bundle: Bundle, part: VlmPart) -> AdapterPlan:
    folder = bundle.root / "vlm"
    config = _json(folder / "adapter_config.json")
    try:
        largest = max([int(config["r"]), *(int(rank) for rank in (config.get("rank_pattern") or {}).values())])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BundleError("names no rank", where=folder / "adapter_config.json", remedy="export again") from None
    if largest > _RANKS[-1]:
        raise InputError(
            f"has rank {largest}, vLLM takes {_RANKS[-1]} at most", where=bundle.root, remedy="export it merged"
        )
    names = _tensor_names(folder / "adapter_model.safetensors")
    return AdapterPlan(part.task, folder, largest, any(".visual." in name for name in names))


def lora_rank(adapters: Sequence[AdapterPlan]) -> int:
    """The smallest rank that vLLM has kernels for and that takes them all."""
    return next(rank for rank in _RANKS if rank >= max(adapter.rank for adapter in adapters))


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"can't be read ({error})", where=path, remedy="export again") from None
    return data if isinstance(data, dict) else {}


def _tensor_names(path: Path) -> list[str]:
    """Names in a safetensors file, whose first 8 bytes say how long its JSON header is."""
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    except (OSError, ValueError) as error:
        raise BundleError(f"is no safetensors file ({error})", where=path, remedy="export again") from None
    return [name for name in header if name != "__metadata__"]
