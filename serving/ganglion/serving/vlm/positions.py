"""Where each token of a prompt stands: Qwen-VL's positions in time, row and column (M-RoPE), for text and images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt


def rope_positions(
    is_image: npt.NDArray[np.bool_], image_grid_thw: npt.NDArray[np.int64], merge_size: int
) -> npt.NDArray[np.int64]:
    """Positions of one prompt's tokens; the next token stands at their maximum + 1 in all three.

    Text counts on in step. An image's tokens share its start in time and spread over rows and columns; what follows
    goes on after the longer side.

    Args:
        is_image: (T,) which tokens are image tokens, each image's together.
        image_grid_thw: (I, 3) frames, rows and columns of patches of each image; frames beyond the first count on.
        merge_size: side in patches of the block that makes one token.

    Returns:
        position_ids (3, 1, T) int64.
    """
    grids = image_grid_thw // (1, merge_size, merge_size)
    parts: list[npt.NDArray[np.int64]] = []
    starts = _image_starts(is_image, [int(size) for size in grids.prod(-1)])
    position = token = 0
    for start, (frames, rows, columns) in zip(starts, grids.tolist(), strict=True):
        parts.append(_text(position, start - token))
        position += start - token
        parts.append(np.indices((frames, rows, columns), np.int64).reshape(3, -1) + position)
        position += max(rows, columns)
        token = start + frames * rows * columns
    parts.append(_text(position, len(is_image) - token))
    return np.concatenate(parts, 1)[:, None]


def _text(start: int, count: int) -> npt.NDArray[np.int64]:
    return np.broadcast_to(np.arange(start, start + count, dtype=np.int64), (3, count))


def _image_starts(is_image: npt.NDArray[np.bool_], sizes: list[int]) -> list[int]:
    firsts = np.cumsum([0, *sizes])[:-1]
    places = np.flatnonzero(is_image)
    assert all(a < b for a, b in pairwise(places[firsts]))
    return [int(places[first]) for first in firsts]
