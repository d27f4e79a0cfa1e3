"""What cameras show together, with the instruction, as the tensors a Qwen-VL reads: the prompt that serving builds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.images import ImageLike, open_image
from ganglion.model.processor import image_settings, load_processor

# Letters, digits, marks and other scripts: a tokenizer that reads these as another does, reads the rest so, too.
_PROBE = "Move the 2 µm tip -0.75 mm left of 'A', then STOP!  Fünf Grad; 一度だけ.\n(x_1 = 9)"


@dataclass(frozen=True)
class EncodedViews:
    """B rows, as a Qwen-VL reads them; those without an image are left out of `inputs`.

    count   B
    seen    (S,) int64, which rows have an image
    inputs  input_ids, attention_mask, mm_token_type_ids (S, T), padded on the right; pixel_values and image_grid_thw of
            all images, row by row; empty if no row has one
    """

    count: int
    seen: Tensor
    inputs: dict[str, Tensor]

    def to(self, device: torch.device | str) -> EncodedViews:
        """The same with its tensors there."""
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return replace(self, seen=self.seen.to(device), inputs=inputs)


class ViewProcessor:
    """The processor of a Qwen-VL checkpoint, asked for one user turn: the images in camera order, then the instruction.

    Padding is on the right, so that a token stands at the same place whatever it is batched with.

    Args:
        path: a resolved base (ganglion.model.checkpoint.resolve_base).
        max_pixels: upper limit of pixels per image after resizing; None keeps the checkpoint's own.

    Raises:
        InputError: the checkpoint has no processor for images and text, or max_pixels is below one merged patch.
    """

    def __init__(self, path: str, max_pixels: int | None = None) -> None:
        self.processor = load_processor(path, max_pixels)
        if self.processor.image_token is None:
            raise InputError("takes no images", where=path, remedy="give a Qwen-VL checkpoint")
        self.image_settings = image_settings(self.processor)

    def __call__(self, images: Sequence[Sequence[ImageLike]], instructions: Sequence[str]) -> EncodedViews:
        """Encode B rows.

        Args:
            images: for each row, one of each camera that has one, in the robot's order; a row may have none.
            instructions: the goal in words, for each row.

        Raises:
            InputError: an image can't be decoded or is too narrow, or an instruction holds an image placeholder.
        """
        seen = [row for row, shown in enumerate(images) if shown]
        pictures = [open_image(image, f"row {row}, image {at}") for row in seen for at, image in enumerate(images[row])]
        prompts = [self._prompt(len(images[row]), instructions[row]) for row in seen]
        inputs: dict[str, Tensor] = {}
        if seen:
            try:
                inputs = dict(
                    self.processor(
                        images=pictures, text=prompts, padding=True, padding_side="right", return_tensors="pt"
                    )
                )
            except ValueError as error:  # such as an aspect ratio beyond 200
                raise InputError(f"images can't be used ({error})", remedy="crop them") from None
        return EncodedViews(len(images), torch.tensor(seen, dtype=torch.int64), inputs)

    def prompt_digest(self) -> str:
        """What identifies template and tokenizer: how they spell out a turn with two images."""
        tokens = self.processor.tokenizer(self._prompt(2, _PROBE))["input_ids"]
        return hashlib.blake2b(repr(list(map(int, tokens))).encode(), digest_size=16).hexdigest()

    def _prompt(self, images: int, instruction: str) -> str:
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": instruction}]
        turn: Any = [{"role": "user", "content": content}]
        prompt: str = self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        if prompt.count(self.processor.image_token) != images:
            raise InputError(
                f"the instruction {instruction[:80]!r} holds an image placeholder",
                remedy="leave placeholders out of the text",
            )
        return prompt
