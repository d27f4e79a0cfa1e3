"""The frozen VLM that turns a camera frame and the instruction into VL features, once per frame."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.processor import load_processor
from ganglion.model.vl_features import text_depth, vl_features
from ganglion.model.vlm import load_vlm

JPEG_QUALITY = 90  # what the bridge sends: the policy learns from frames that went the same way
_BATCH = 16


class Backbone:
    """A base model and the layer whose hidden states are the VL features.

    Args:
        base: as the user named it.
        layer: text layer; None for half the depth.
        instruction: the goal in words.
    """

    def __init__(self, base: str, layer: int | None, instruction: str) -> None:
        path = resolve_base(base)
        self._processor = load_processor(path)
        self._model = load_vlm(path)
        self.layer = text_depth(self._model) // 2 if layer is None else layer
        self.facts = {
            "base": base,
            "base_hash": base_hash(path),
            "model_type": self._model.config.model_type,
            "vl_layer": self.layer,
            "instruction": instruction,
        }
        self._instruction = instruction

    def features(self, frames: Sequence[npt.NDArray[np.uint8]], what: str) -> Tensor:
        """VL features of (height, width, 3) uint8 frames of one size: (frames, T, width) float32.

        Args:
            frames: the images, as the camera took them; each goes through JPEG first.
            what: named beside the progress bar.
        """
        content = [{"type": "image"}, {"type": "text", "text": self._instruction}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        parts = []
        with torch.no_grad():
            for start in tqdm(range(0, len(frames), _BATCH), what, disable=not sys.stderr.isatty()):
                images = [through_jpeg(frame) for frame in frames[start : start + _BATCH]]
                inputs = self._processor(images=images, text=[prompt] * len(images), return_tensors="pt")
                inputs = inputs.to(self._model.device)
                parts.append(vl_features(self._model, inputs, self.layer).float().cpu())
        return torch.cat(parts)


def through_jpeg(frame: npt.NDArray[np.uint8]) -> Image.Image:
    """The frame as a server receives it."""
    jpeg = io.BytesIO()
    Image.fromarray(frame).save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return Image.open(jpeg).convert("RGB")
