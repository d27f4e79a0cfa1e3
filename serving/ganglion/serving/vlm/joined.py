"""Several answers read by one call of the decoder: their caches side by side, each filled up in front.

    row 0  . . . a b c d e | f          dots are masked, letters are tokens in their own positions
    row 1  a b c d e f g h | i

A row that reads fewer tokens than another in the same call is filled up in front of those, and moved together after it.
A product's row does not depend on the others. A sum over keys is taken in another order, though: logits differ by
rounding, at most 2e-6 of float32 graphs (docs/reference/vlm_server.md), and by a step of quantization where activations
are rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.serving.vlm.decoder import DecoderState, as_value

Array = npt.NDArray[Any]


class JoinedStates:
    """Takes the caches of at least two states; `part` gives them back.

    Args:
        states: of one decoder, each having read its prompt.
    """

    def __init__(self, states: Sequence[DecoderState]) -> None:
        self._states, self._decoder = list(states), states[0].decoder
        self._columns = max(state.length for state in states)
        self._cache: dict[str, Any] = {}
        for name, (_, heads, _, width) in self._decoder.past.items():
            # Tensor by tensor, so that no more than one exists twice.
            joined = np.zeros((len(states), heads, self._columns, width), np.float32)
            for row, state in enumerate(states):
                value = state.cache.pop(name)  # a view on it does not keep it alive
                joined[row, :, self._columns - state.length :] = value.numpy()[0]
            self._cache[name] = as_value(joined)

    def read(self, steps: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Read the next text tokens of each row, at least one; logits (B, V) after the last of each."""
        decoder, states = self._decoder, self._states
        counts = [len(step) for step in steps]
        most = max(counts)
        ids = np.zeros((len(steps), most), np.int64)
        positions = np.zeros((3, len(steps), most), np.int64)
        mask = np.zeros((len(steps), self._columns + most), np.int64)
        for row, (step, state) in enumerate(zip(steps, states, strict=True)):
            ids[row, most - len(step) :] = step
            positions[:, row, most - len(step) :] = state.next_position + np.arange(len(step))
            mask[row, self._columns - state.length : self._columns] = 1
            mask[row, self._columns + most - len(step) :] = 1
            state.length += len(step)
            state.next_position += len(step)
            state.calls += 1
        embeds = decoder.embed.run(None, {"input_ids": ids, "image_features": decoder.no_image})[0]
        feeds = {
            "inputs_embeds": as_value(embeds),
            "attention_mask": as_value(mask),
            "position_ids": as_value(positions),
            "logits_at": as_value(np.array([most - 1])),
        }
        logits, *present = decoder.session.run_with_ort_values(decoder.outputs, feeds | self._cache)
        self._cache = dict(zip(decoder.past, present, strict=True))
        before, self._columns = self._columns, self._columns + most
        if min(counts) < most:
            self._move_together(before, counts)
        rows: npt.NDArray[np.float32] = logits.numpy()[:, 0]
        return rows

    def part(self) -> None:
        """Give each state its own cache back. This object is not used after it."""
        for name in self._decoder.past:
            value = self._cache.pop(name)
            for row, state in enumerate(self._states):
                own = value.numpy()[row : row + 1, :, self._columns - state.length :]
                state.cache[name] = as_value(own.copy())

    def _move_together(self, before: int, counts: Sequence[int]) -> None:
        """Close the gap between what a row had in its first `before` columns and the tokens it has read now."""
        columns = max(state.length for state in self._states)
        for name, value in self._cache.items():
            apart: Array = value.numpy()
            joined = np.zeros((*apart.shape[:2], columns, apart.shape[3]), np.float32)
            for row, (state, count) in enumerate(zip(self._states, counts, strict=True)):
                old = state.length - count
                joined[row, :, columns - state.length : columns - count] = apart[row, :, before - old : before]
                joined[row, :, columns - count :] = apart[row, :, self._columns - count :]
            self._cache[name] = as_value(joined)
        self._columns = columns
