"""From an Example to tensors: the checkpoint's own chat template around the prompt, then the answer.

Labels exist by construction: a row is prompt tokens followed by answer tokens, and only the latter are labeled. The
same encoding without an answer is what evaluation generates from, so both see the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example

END_OF_TURN = "<|im_end|>"
UNLABELED = -100


@dataclass(frozen=True)
class Encoded:
    """One row.

    prompt_ids      (P,) int64, image placeholders expanded
    answer_ids      (A,) int64, the end of turn included; empty where there is nothing to learn
    token_types     (P,) int64, 1 on image tokens; the models build their 3-D positions from it
    pixel_values    (patches, patch values) float16 or float32
    image_grid_thw  (images, 3) int64, patches along time, height, width
    """

    prompt_ids: torch.Tensor
    answer_ids: torch.Tensor
    token_types: torch.Tensor
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor


def encode(processor: Any, example: Example, *, with_answer: bool, half: bool = False) -> Encoded:
    """Encode one example.

    Args:
        processor: from ganglion.model.processor.load_processor.
        example: its images are read from disk here.
        with_answer: append the expected answer, to learn from.
        half: keep pixels in float16, for data sets held in memory.
    """
    images = [_read(path) for path in example.images]
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": example.prompt}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = processor(text=[text], images=images, return_tensors="pt")
    answer = processor.tokenizer(example.answer + END_OF_TURN, add_special_tokens=False)["input_ids"]
    pixels = inputs["pixel_values"]
    return Encoded(
        prompt_ids=inputs["input_ids"][0],
        answer_ids=torch.tensor(answer if with_answer else [], dtype=torch.long),
        token_types=inputs["mm_token_type_ids"][0],
        pixel_values=pixels.half() if half else pixels.float(),
        image_grid_thw=inputs["image_grid_thw"],
    )


def collate(rows: Sequence[Encoded], pad_token_id: int, *, side: str) -> dict[str, torch.Tensor]:
    """A batch of B rows padded to the longest, T tokens.

    Args:
        rows: at least one.
        pad_token_id: fills the rest; masked and never labeled.
        side: "left" so that all rows end together, as generation needs it, or "right".

    Returns:
        input_ids, attention_mask, mm_token_type_ids, labels: (B, T) int64; pixel_values: (patches of all, values)
        float32; image_grid_thw: (images of all, 3) int64.
    """
    longest = max(len(row.prompt_ids) + len(row.answer_ids) for row in rows)

    def padded(parts: list[torch.Tensor], fill: int) -> torch.Tensor:
        whole = torch.full((len(rows), longest), fill, dtype=torch.long)
        for line, part in zip(whole, parts, strict=True):
            start = longest - len(part) if side == "left" else 0
            line[start : start + len(part)] = part
        return whole

    ids = [torch.cat([row.prompt_ids, row.answer_ids]) for row in rows]
    return {
        "input_ids": padded(ids, pad_token_id),
        "attention_mask": padded([torch.ones_like(i) for i in ids], 0),
        "mm_token_type_ids": padded(
            [torch.cat([row.token_types, torch.zeros_like(row.answer_ids)]) for row in rows], 0
        ),
        "labels": padded(
            [torch.cat([torch.full_like(row.prompt_ids, UNLABELED), row.answer_ids]) for row in rows], UNLABELED
        ),
        "pixel_values": torch.cat([row.pixel_values for row in rows]).float(),
        "image_grid_thw": torch.cat([row.image_grid_thw for row in rows]),
    }


def training_batch(rows: Sequence[Encoded], pad_token_id: int) -> dict[str, Any]:
    """A batch to learn from: `collate` on the left, so that all answers end together at the end.

    The output head then runs over the longest answer only: at full size, logits of a whole prompt (tokens x 150 000)
    would be the largest tensor of a training step.

    Returns:
        as `collate`, but labels (B, K) for the last K tokens, and "logits_to_keep": K.
    """
    batch = collate(rows, pad_token_id, side="left")
    kept = max(len(row.answer_ids) for row in rows) + 1  # the token before an answer predicts its first
    return {**batch, "labels": batch["labels"][:, -kept:], "logits_to_keep": kept}


class EncodedExamples(torch.utils.data.Dataset[Encoded]):
    """Examples encoded on first use and kept, as long as they fit into `memory_bytes`."""

    def __init__(self, processor: Any, examples: Sequence[Example], memory_bytes: int, longest: int) -> None:
        self._processor, self._examples, self._left, self._longest = processor, examples, memory_bytes, longest
        self._kept: dict[int, Encoded] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Encoded:
        """The row at `index`, with its answer.

        Raises:
            InputError: it has more tokens than the model takes.
        """
        if index in self._kept:
            return self._kept[index]
        row = encode(self._processor, self._examples[index], with_answer=True, half=True)
        tokens = len(row.prompt_ids) + len(row.answer_ids)
        if tokens > self._longest:
            raise InputError(
                f"row {index} has {tokens} tokens, the model takes {self._longest}", remedy="lower --max_pixels"
            )
        self._left -= row.pixel_values.nbytes
        if self._left >= 0:
            self._kept[index] = row
        return row


def _read(path: Any) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
