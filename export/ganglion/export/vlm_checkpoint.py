"""A VLM as files that transformers and vLLM load: a merged checkpoint, or an adapter to lie beside its base."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ganglion.export.checkpoint_files import write_checkpoint
from ganglion.export.merge import DTYPES, Adapter
from ganglion.export.weights import CheckpointWeights
from ganglion.model.vlm import load_vlm

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_merged(
    adapter: Adapter,
    weights: CheckpointWeights,
    processor: Any,
    folder: Path,
    dtype: str,
    report: Callable[[str], None],
) -> None:
    """Write merged weights as a checkpoint in `dtype`, with the processor that training used."""
    write_checkpoint(weights, weights, folder, DTYPES[dtype], report)
    if processor.image_token is not None and adapter.run.get("max_pixels"):
        processor.save_pretrained(folder)
    if processor.image_token is None and processor.tokenizer.chat_template is None:
        (folder / "chat_template.jinja").write_text(processor.chat_template, encoding="utf-8")


def load_checkpoint(folder: Path) -> Any:
    """The model of a written checkpoint, in the type it was written in, on the CPU."""
    from transformers import AutoConfig

    return load_vlm(folder, dtype=AutoConfig.from_pretrained(folder).dtype or torch.float32, device="cpu")


def copy_adapter(adapter: Adapter, folder: Path) -> None:
    """Copy what a server needs of the adapter."""
    folder.mkdir(parents=True)
    for name in _ADAPTER_FILES:
        shutil.copyfile(adapter.folder / name, folder / name)
