"""Running the exported graphs with ONNX Runtime, plainly: the other side of the parity measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ganglion.export.sessions import open_onnx
from ganglion.export.targets import Precision

if TYPE_CHECKING:  # graphs are asked on machines without torch, too
    from torch import Tensor

Array = npt.NDArray[Any]
Positions = Callable[[Mapping[str, "Tensor"]], "Tensor"]


class OnnxVlm:
    """vision.onnx, embed.onnx and decoder.onnx of a folder, on the CPU.

    Args:
        folder: a language model's has no vision.onnx.
        positions: what a processor made of B prompts -> their (3, B, T) position ids; needed to generate.
        precision: of the graphs, for as little memory as they can be asked with; default is as they are served.
    """

    device = "cpu"  # as of a model, for whoever prepares its inputs

    def __init__(self, folder: Path, positions: Positions | None = None, precision: Precision | None = None) -> None:
        self._positions = positions
        mapped = {part for part, of in precision.vlm.items() if of == "float32"} if precision else set()
        vision = folder / "vision.onnx"
        self._vision = open_onnx(vision, mapped="vision" in mapped) if vision.is_file() else None
        self._embed = open_onnx(folder / "embed.onnx")
        self._decoder = open_onnx(folder / "decoder.onnx", mapped="language" in mapped)
        self._past = {i.name: i.shape for i in self._decoder.get_inputs() if i.name.startswith("past.")}

    def logits(
        self,
        inputs: Mapping[str, Array],
        position_ids: Array,
        steps: int,
        tokens: Sequence[int] | None = None,
        last: int | None = None,
    ) -> Iterator[Array]:
        """Logits of the whole prompt (B, T, V), then of `steps` steps (B, 1, V).

        Args:
            inputs: what a processor made of B prompts, padded on the left.
            position_ids: (3, B, T).
            steps: how many tokens to go on.
            tokens: these, for B = 1; default are the likeliest.
            last: of the prompt, give the last so many only.
        """
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask", np.ones_like(ids))
        features = self._see(inputs)
        past = {name: np.zeros((ids.shape[0], shape[1], 0, shape[3]), np.float32) for name, shape in self._past.items()}
        for step in range(steps + 1):
            (embeds,) = self._embed.run(None, {"input_ids": ids, "image_features": features})
            feeds = {
                "inputs_embeds": embeds,
                "attention_mask": mask,
                "position_ids": position_ids,
                "logits_at": np.arange(ids.shape[1])[-(last or ids.shape[1]) :],
            }
            logits, *present = self._decoder.run(None, feeds | past)
            yield logits
            if step == steps:
                return
            past = dict(zip(past, present, strict=True))
            ids = logits[:, -1:].argmax(-1) if tokens is None else np.array([[tokens[step]]])
            mask = np.concatenate([mask, np.ones_like(ids)], 1)
            position_ids = position_ids.max(axis=(0, 2), keepdims=True).repeat(3, 0) + 1
            features = features[:0]

    def generate(self, *, max_new_tokens: int, eos_token_id: Sequence[int], pad_token_id: int, **batch: Any) -> Tensor:
        """Greedy answers as transformers' `generate` gives them: (B, T + answer), padded after an end.

        Args:
            max_new_tokens: where answers are cut off.
            eos_token_id: what ends one.
            pad_token_id: stands after it.
            batch: what a processor made of B prompts, padded on the left; options of sampling are not looked at.
        """
        import torch

        assert self._positions is not None
        inputs = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
        arrays = {name: value.numpy() for name, value in inputs.items()}
        written: list[Array] = []
        ended = np.zeros(len(arrays["input_ids"]), np.bool_)
        for logits in self.logits(arrays, self._positions(inputs).numpy(), max_new_tokens - 1, last=1):
            chosen = np.where(ended, pad_token_id, logits[:, -1].argmax(-1))
            written.append(chosen)
            ended |= np.isin(chosen, list(eos_token_id))
            if ended.all():
                break
        return torch.cat([inputs["input_ids"], torch.from_numpy(np.stack(written, 1))], 1)

    @property
    def dtype(self) -> Any:
        """What graphs are fed with."""
        import torch

        return torch.float32

    def _see(self, inputs: Mapping[str, Array]) -> Array:
        if self._vision is None or "pixel_values" not in inputs:
            return np.zeros((0, self._embed.get_inputs()[1].shape[1]), np.float32)
        image = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
        (features,) = self._vision.run(None, image)
        return np.asarray(features)
