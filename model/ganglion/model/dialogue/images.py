"""Image files to what the vision tower takes, each read once where memory allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.images import upright, upright_size


@dataclass(frozen=True)
class EncodedImage:
    """One image as the vision tower takes it.

    pixel_values    (patches, patch values) float16: pixels have 8 bits
    image_grid_thw  (3,) int64, patches along time, height, width
    """

    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor


class ImageEncoder:
    """Image files to patches; those read are kept, as long as all fit into `memory_bytes`."""

    def __init__(self, processor: Any, memory_bytes: int = 0) -> None:
        self._processor, self._left = processor.image_processor, memory_bytes
        self._kept: dict[Path, EncodedImage] = {}

    def __call__(self, path: Path) -> EncodedImage:
        """The image in that file."""
        if path in self._kept:
            return self._kept[path]
        with Image.open(path) as image:
            made = self._processor(images=[upright(image)], return_tensors="pt")
        encoded = EncodedImage(made["pixel_values"].half(), made["image_grid_thw"][0])
        if (left := self._left - encoded.pixel_values.nbytes) >= 0:
            self._kept[path], self._left = encoded, left
        return encoded

    def tokens(self, path: Path) -> int:
        """How many tokens the image in that file takes, from its size alone: nothing is decoded.

        Raises:
            InputError: one side is far longer than the model takes.
        """
        with Image.open(path) as image:
            width, height = upright_size(image)
        try:
            patches = self._processor.get_number_of_image_patches(height, width)
        except ValueError as error:  # Qwen-VL takes sides of up to 200 to 1
            raise InputError(f"{width} x {height} pixels ({error})", where=path, remedy="crop the image") from None
        return int(patches // self._processor.merge_size**2)
