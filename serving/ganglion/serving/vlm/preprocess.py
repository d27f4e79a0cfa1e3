"""Camera images to what the vision tower reads: the Qwen-VL image processor in numpy and Pillow.

Bit for bit the library's PIL backend, so that serving shows the model the pixels it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.images import ImageLike, open_image

_MAX_ASPECT = 200


@dataclass(frozen=True)
class ImagePreprocessor:
    """How images become patches; the fields are the manifest's `image_processor`.

    patch_size, temporal_patch_size, merge_size   side of a patch in pixels, frames in it, side of a block in patches
    min_pixels, max_pixels                        an image is resized to lie between them
    image_mean, image_std                         per RGB channel, on values from 0 to 1
    """

    patch_size: int
    temporal_patch_size: int
    merge_size: int
    min_pixels: int
    max_pixels: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]

    @classmethod
    def from_manifest(cls, data: Mapping[str, Any]) -> ImagePreprocessor:
        """From `manifest.vlm.image_processor` or `manifest.policy.image_processor`."""
        known = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "image_mean": tuple(known["image_mean"]), "image_std": tuple(known["image_std"])})

    def __call__(self, images: Sequence[ImageLike]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Preprocess at least one image.

        Returns:
            pixel_values (N, 3 * temporal_patch_size * patch_size^2) float32, patches of all images in merge-block
            order; image_grid_thw (I, 3) int64, frames, rows and columns of patches of each image.

        Raises:
            InputError: an image can't be decoded, has a wrong shape, or is too narrow.
        """
        parts = [self._patches(open_image(image, f"image {index}"), index) for index, image in enumerate(images)]
        grid = np.array([(1, rows, columns) for _, rows, columns in parts], np.int64)
        return np.concatenate([patches for patches, _, _ in parts]), grid

    def image_tokens(self, image_grid_thw: npt.NDArray[np.int64]) -> list[int]:
        """How many tokens each image of a (I, 3) grid takes."""
        return [int(count) for count in image_grid_thw.prod(-1) // self.merge_size**2]

    def _patches(self, image: Image.Image, index: int) -> tuple[npt.NDArray[np.float32], int, int]:
        height, width = self.target_size(image.height, image.width, f"image {index}")
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
        patch, merge = self.patch_size, self.merge_size
        rows, columns = height // patch, width // patch
        scaled = self._levels()[pixels, np.arange(3)]
        blocks = scaled.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
        blocks = blocks.transpose(0, 3, 1, 4, 6, 2, 5)[:, :, :, :, :, None]
        still = np.broadcast_to(blocks, (*blocks.shape[:5], self.temporal_patch_size, *blocks.shape[6:]))
        return still.reshape(rows * columns, -1), rows, columns

    def target_size(self, height: int, width: int, where: object = None) -> tuple[int, int]:
        """Height and width after resizing: multiples of a merge block, within the pixel limits, aspect kept.

        Raises:
            InputError: one side is more than 200 times the other.
        """
        if max(height, width) > _MAX_ASPECT * min(height, width):
            raise InputError(f"is {width} x {height} pixels, too narrow", where=where, remedy="crop it")
        block = self.patch_size * self.merge_size
        high, wide = round(height / block) * block, round(width / block) * block
        if high * wide > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            high, wide = (max(block, math.floor(side / shrink / block) * block) for side in (height, width))
        elif high * wide < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            high, wide = (math.ceil(side * grow / block) * block for side in (height, width))
        return high, wide

    def _levels(self) -> npt.NDArray[np.float32]:
        """(256, 3): the normalized value of each 8-bit level per channel, rounded as the library rounds."""
        unit = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
        levels = (unit[:, None] - np.asarray(self.image_mean, np.float32)) / np.asarray(self.image_std, np.float32)
        return cast("npt.NDArray[np.float32]", levels)
