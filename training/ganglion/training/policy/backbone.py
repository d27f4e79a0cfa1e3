"""VL features of synthetic camera frames, once per frame, from a backbone that stays frozen."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ganglion.core.images import encode_jpeg
from ganglion.model.backbone.backbone import Backbone

FRAMES_AT_ONCE = 16


@torch.no_grad()
def frame_features(backbone: Backbone, frames: Sequence[npt.NDArray[np.uint8]], instruction: str, what: str) -> Tensor:
    """VL features of (height, width, 3) uint8 frames of one size: (frames, T, width) float32.

    Args:
        backbone: that sees them.
        frames: the images, as the camera took them; each goes through JPEG first.
        instruction: the goal in words.
        what: named beside the progress bar.
    """
    parts = []
    for start in tqdm(range(0, len(frames), FRAMES_AT_ONCE), what, disable=not sys.stderr.isatty()):
        images = [[encode_jpeg(frame)] for frame in frames[start : start + FRAMES_AT_ONCE]]
        parts.append(backbone.features(images, [instruction] * len(images))[0].cpu())
    return torch.cat(parts)
