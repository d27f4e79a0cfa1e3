"""Running the exported graphs with ONNX Runtime, plainly: the other side of the parity measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Array = npt.NDArray[Any]


class OnnxVlm:
    """vision.onnx, embed.onnx and decoder.onnx of a folder, on the CPU."""

    def __init__(self, folder: Path) -> None:
        self._vision, self._embed, self._decoder = (
            open_onnx(folder / f"{name}.onnx") for name in ("vision", "embed", "decoder")
        )
        self._past = {i.name: i.shape for i in self._decoder.get_inputs() if i.name.startswith("past.")}

    def logits(self, inputs: dict[str, Array], position_ids: Array, steps: int) -> Iterator[Array]:
        """Logits of the whole prompt (B, T, V), then of `steps` greedy steps (B, 1, V)."""
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask", np.ones_like(ids))
        features = np.zeros((0, self._embed.get_inputs()[1].shape[1]), np.float32)
        if "pixel_values" in inputs:
            image = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
            (features,) = self._vision.run(None, image)
        past = {name: np.zeros((ids.shape[0], shape[1], 0, shape[3]), np.float32) for name, shape in self._past.items()}
        for step in range(steps + 1):
            (embeds,) = self._embed.run(None, {"input_ids": ids, "image_features": features})
            feeds = {
                "inputs_embeds": embeds,
                "attention_mask": mask,
                "position_ids": position_ids,
                "logits_at": np.arange(ids.shape[1]),
            }
            logits, *present = self._decoder.run(None, feeds | past)
            yield logits
            if step == steps:
                return
            past = dict(zip(past, present, strict=True))
            ids = logits[:, -1:].argmax(-1)
            mask = np.concatenate([mask, np.ones_like(ids)], 1)
            position_ids = position_ids.max(axis=(0, 2), keepdims=True).repeat(3, 0) + 1
            features = features[:0]


def open_onnx(path: Path) -> ort.InferenceSession:
    """A CPU session; ONNX Runtime's own warnings stay out of the terminal."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
