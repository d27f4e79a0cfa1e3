"""How many patches and tokens an image becomes: Qwen-VL's resizing rule, from transformers itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ganglion.core.errors import InputError

# preprocessor_config.json of Qwen2-VL and Qwen2.5-VL on the hub; Qwen3-VL's differs only where an image is larger.
MIN_PIXELS, MAX_PIXELS = 56 * 56, 28 * 28 * 16384


@dataclass(frozen=True)
class ImageTokens:
    """One image: rows and columns of patches in the vision tower, tokens in the text."""

    rows: int
    columns: int
    tokens: int

    @property
    def patches(self) -> int:
        """In the vision tower."""
        return self.rows * self.columns


def image_tokens(vision: Any, size: tuple[int, int], max_pixels: int | None = None) -> ImageTokens:
    """Count for an image of `size` = (width, height) pixels.

    Args:
        vision: the vision config of a Qwen-VL model.
        size: as on disk; it is scaled to whole merged patches, within the limits on pixels.
        max_pixels: upper limit; None is the processor's own.

    Raises:
        InputError: a side is not positive, or one is 200 times the other.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    merge = vision.spatial_merge_size
    factor = vision.patch_size * merge
    limit = max(max_pixels or MAX_PIXELS, factor**2)
    width, height = size
    try:
        rows, columns = smart_resize(height, width, factor, min(MIN_PIXELS, limit), limit)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"an image of {width} x {height} pixels can't be used: {error}") from error
    return ImageTokens(rows // vision.patch_size, columns // vision.patch_size, rows * columns // factor**2)
