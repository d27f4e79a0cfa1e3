"""Asking a bundle's checkpoint, or its adapter beside its base, what was asked when it was made."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ganglion.core.bundle import Bundle
from ganglion.core.errors import InputError
from ganglion.core.manifest import VlmPart
from ganglion.export.compress import PRECISIONS, load_compressed
from ganglion.export.parity import ask_torch
from ganglion.export.prompts import Prompt
from ganglion.export.references import Reference
from ganglion.export.vlm_checkpoint import load_checkpoint
from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.vlm import load_vlm


def open_model(bundle: Bundle, part: VlmPart, base: str | None) -> Any:
    """The model that a server would make of the bundle, on the CPU.

    Raises:
        InputError: the base of an adapter is not the one it was trained on.
    """
    if part.form == "checkpoint":
        folder = bundle.path("vlm")
        return (
            load_compressed(folder, torch.float32)
            if part.precision["language"] in PRECISIONS
            else load_checkpoint(folder)
        )
    from peft import PeftModel  # imports bitsandbytes, which ganglion.model.vlm has to quiet first

    path = resolve_base(base or part.base_id)
    if base_hash(path) != part.base_hash:
        raise InputError("is not the base it was trained on", where=path, remedy="name that with --base")
    quantization = "nf4" if part.precision["language"] == "nf4" else None
    model = load_vlm(path, quantization=quantization, dtype=getattr(torch, part.precision["vision"]), device="cpu")
    return PeftModel.from_pretrained(model, bundle.path("vlm")).eval().get_base_model()


def checkpoint_logits(model: Any, reference: Reference) -> npt.NDArray[np.float32]:
    """Logits (P, V) of the reference's positions."""
    inputs = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in reference.inputs.items()}
    prompt = Prompt(inputs, torch.from_numpy(np.ascontiguousarray(reference.position_ids)))
    tokens = [int(token) for token in reference.tokens]
    return np.concatenate(list(ask_torch(model)(prompt, tokens, len(tokens))))
