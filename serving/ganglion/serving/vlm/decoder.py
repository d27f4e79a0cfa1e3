"""decoder.onnx with its cache: one object per answer, on sessions that all answers share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort


class Decoder:
    """embed.onnx and decoder.onnx, without state."""

    def __init__(self, embed: ort.InferenceSession, decoder: ort.InferenceSession) -> None:
        self.embed, self.session = embed, decoder
        self.past = {i.name: i.shape for i in decoder.get_inputs() if i.name.startswith("past.")}
        self.outputs = ["logits", *(name.replace("past.", "present.", 1) for name in self.past)]
        self.vocabulary: int = decoder.get_outputs()[0].shape[2]
        width: int = embed.get_inputs()[1].shape[1]
        self.no_image = np.zeros((0, width), np.float32)

    @property
    def token_bytes(self) -> int:
        """Of a token's keys and values in the cache."""
        return sum(4 * shape[1] * shape[3] for shape in self.past.values())


class DecoderState:
    """What the decoder has read so far.

    decoder        whose cache it is
    cache          past.* by name, each (1, heads, length, head width); empty while it is joined with others
    length         tokens in it
    next_position  where the next text token stands
    calls          of the decoder
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.cache: dict[str, Any] = {
            name: as_value(np.zeros((1, shape[1], 0, shape[3]), np.float32)) for name, shape in decoder.past.items()
        }
        self.next_position = 0
        self.length = 0
        self.calls = 0

    def read_prompt(
        self,
        input_ids: npt.NDArray[np.int64],
        position_ids: npt.NDArray[np.int64],
        image_features: npt.NDArray[np.float32] | None,
    ) -> npt.NDArray[np.float32]:
        """Read (1, T) tokens at (3, 1, T) positions with their (K, width) image features; logits (V,) of the next."""
        return self._read(input_ids, position_ids, image_features)

    def read(self, tokens: list[int]) -> npt.NDArray[np.float32]:
        """Read further text tokens; logits (V,) of the next."""
        positions = np.arange(self.next_position, self.next_position + len(tokens), dtype=np.int64)
        return self._read(np.array([tokens], np.int64), np.tile(positions, (3, 1, 1)), None)

    def _read(
        self,
        input_ids: npt.NDArray[np.int64],
        position_ids: npt.NDArray[np.int64],
        image_features: npt.NDArray[np.float32] | None,
    ) -> npt.NDArray[np.float32]:
        decoder = self.decoder
        features = decoder.no_image if image_features is None else image_features
        (embeds,) = decoder.embed.run(None, {"input_ids": input_ids, "image_features": features})
        count = input_ids.shape[1]
        self.length += count
        feeds = {
            "inputs_embeds": as_value(embeds),
            "attention_mask": as_value(np.ones((1, self.length), np.int64)),
            "position_ids": as_value(position_ids),
            "logits_at": as_value(np.array([count - 1])),
        }
        # As OrtValues the cache goes from one call to the next without being copied into numpy and back.
        logits, *present = decoder.session.run_with_ort_values(decoder.outputs, feeds | self.cache)
        self.cache = dict(zip(decoder.past, present, strict=True))
        self.next_position = int(position_ids.max()) + 1
        self.calls += 1
        row: npt.NDArray[np.float32] = logits.numpy()[0, 0]
        return row


def as_value(array: npt.NDArray[Any]) -> ort.OrtValue:
    """An array as what ONNX Runtime takes without a copy."""
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
