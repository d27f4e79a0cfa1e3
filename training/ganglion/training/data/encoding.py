"""From an Example to tensors: the checkpoint's own chat template around the prompt, then the answer.

Labels exist by construction: a row is prompt tokens followed by answer tokens, and only the latter are labeled. The
same encoding without an answer is what evaluation generates from, so both see the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example

END_OF_TURN = "<|im_end|>"
UNLABELED = -100


@dataclass(frozen=True)
class EncodedImage:
    """One image as the vision tower takes it.

    pixel_values    (patches, patch values) float16: pixels have 8 bits
    image_grid_thw  (3,) int64, patches along time, height, width
    """

    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor


@dataclass(frozen=True)
class Encoded:
    """One row.

    prompt_ids   (P,) int64, image placeholders expanded
    answer_ids   (A,) int64, the end of turn included; empty where there is nothing to learn
    token_types  (P,) int64, 1 on image tokens; the models build their 3-D positions from it
    images       in the order of their placeholders
    """

    prompt_ids: torch.Tensor
    answer_ids: torch.Tensor
    token_types: torch.Tensor
    images: tuple[EncodedImage, ...]


class ImageEncoder:
    """Image files to patches; each file is read once and kept, as long as all fit into `memory_bytes`."""

    def __init__(self, processor: Any, memory_bytes: int = 0) -> None:
        self._processor, self._left = processor.image_processor, memory_bytes
        self._kept: dict[Path, EncodedImage] = {}

    def __call__(self, path: Path) -> EncodedImage:
        """The image in that file."""
        if path in self._kept:
            return self._kept[path]
        with Image.open(path) as image:
            made = self._processor(images=[image.convert("RGB")], return_tensors="pt")
        encoded = EncodedImage(made["pixel_values"].half(), made["image_grid_thw"][0])
        if (left := self._left - encoded.pixel_values.nbytes) >= 0:
            self._kept[path], self._left = encoded, left
        return encoded


def encode(processor: Any, example: Example, read_image: ImageEncoder, *, with_answer: bool) -> Encoded:
    """Encode one example.

    Args:
        processor: from ganglion.model.processor.load_processor.
        example: its images are read from disk by `read_image`.
        read_image: an encoder with the same processor.
        with_answer: append the expected answer, to learn from.

    Raises:
        InputError: the prompt holds the placeholder of an image.
    """
    images = tuple(read_image(path) for path in example.images)
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": example.prompt}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    between = text.split(processor.image_token)
    if len(between) != len(images) + 1:
        raise InputError(f"a prompt holds {processor.image_token}", remedy="take it out of the data")
    patches = processor.image_processor.merge_size**2  # per token
    pads = [processor.image_token * (int(image.image_grid_thw.prod()) // patches) for image in images]
    text = "".join(part for pair in zip(between, [*pads, ""], strict=True) for part in pair)
    answer = processor.tokenizer(example.answer + END_OF_TURN, add_special_tokens=False)["input_ids"]
    prompt_ids = torch.tensor(processor.tokenizer(text)["input_ids"])
    return Encoded(
        prompt_ids=prompt_ids,
        answer_ids=torch.tensor(answer if with_answer else [], dtype=torch.long),
        token_types=(prompt_ids == processor.image_token_id).long(),
        images=images,
    )


def collate(rows: Sequence[Encoded], pad_token_id: int, *, side: str) -> dict[str, torch.Tensor]:
    """A batch of B rows padded to the longest, T tokens.

    Args:
        rows: at least one.
        pad_token_id: fills the rest; masked and never labeled.
        side: "left" so that all rows end together, as generation needs it, or "right".

    Returns:
        input_ids, attention_mask, mm_token_type_ids, labels: (B, T) int64; and where any row has an image,
        pixel_values: (patches of all, values) float32; image_grid_thw: (images of all, 3) int64.
    """
    longest = max(len(row.prompt_ids) + len(row.answer_ids) for row in rows)

    def padded(parts: list[torch.Tensor], fill: int) -> torch.Tensor:
        whole = torch.full((len(rows), longest), fill, dtype=torch.long)
        for line, part in zip(whole, parts, strict=True):
            start = longest - len(part) if side == "left" else 0
            line[start : start + len(part)] = part
        return whole

    ids = [torch.cat([row.prompt_ids, row.answer_ids]) for row in rows]
    pixels = {}
    if images := [image for row in rows for image in row.images]:
        pixels["pixel_values"] = torch.cat([image.pixel_values for image in images]).float()
        pixels["image_grid_thw"] = torch.stack([image.image_grid_thw for image in images])
    return {
        "input_ids": padded(ids, pad_token_id),
        "attention_mask": padded([torch.ones_like(i) for i in ids], 0),
        "mm_token_type_ids": padded(
            [torch.cat([row.token_types, torch.zeros_like(row.answer_ids)]) for row in rows], 0
        ),
        "labels": padded(
            [torch.cat([torch.full_like(row.prompt_ids, UNLABELED), row.answer_ids]) for row in rows], UNLABELED
        ),
        **pixels,
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
    """Examples encoded when they are asked for; preprocessed images are kept, up to `memory_bytes`."""

    def __init__(self, processor: Any, examples: Sequence[Example], memory_bytes: int, longest: int) -> None:
        self._processor, self._examples, self._longest = processor, examples, longest
        self._read_image = ImageEncoder(processor, memory_bytes)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Encoded:
        """The row at `index`, with its answer.

        Raises:
            InputError: it has more tokens than the model takes.
        """
        row = encode(self._processor, self._examples[index], self._read_image, with_answer=True)
        tokens = len(row.prompt_ids) + len(row.answer_ids)
        if tokens > self._longest:
            raise InputError(
                f"row {index} has {tokens} tokens, the model takes {self._longest}", remedy="lower --max_pixels"
            )
        return row
