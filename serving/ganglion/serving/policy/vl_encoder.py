"""Camera frames and the instruction to VL features, at camera rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError
from ganglion.core.messages import Frame
from ganglion.serving.vlm.preprocess import ImagePreprocessor
from ganglion.serving.vlm.prompt import PromptEncoder
from ganglion.serving.vlm.session import open_session

Array = npt.NDArray[np.float32]
_PROMPTS = 64


@dataclass(frozen=True)
class VlFeatures:
    """What the backbone made of one set of frames.

    features    (1, T, width) float32
    mask        (1, T) float32, ones
    exposed_ns  source stamp of the oldest frame used
    encode_ms   how long it took, decoding, preprocessing and waiting for the encoder included
    """

    features: Array
    mask: Array
    exposed_ns: int
    encode_ms: float


Feeds = dict[str, npt.NDArray[Any]]
VlRunner = Callable[[Feeds], Array]
"""Inputs of vl_encoder.onnx -> its output, (1, T, width)."""


def open_vl_runner(bundle: Bundle, threads: int) -> VlRunner:
    """vl_encoder.onnx of a bundle, run in this process.

    Raises:
        BundleError: it can't be loaded.
    """
    session = open_session(bundle.path("policy/vl_encoder.onnx"), threads=threads)

    def run(feeds: Feeds) -> Array:
        features: Array = session.run(None, feeds)[0]
        return features

    return run


class VlEncoder:
    """What the inputs of vl_encoder.onnx need, around whatever runs it. Any thread may call it.

    Raises:
        BundleError: a file can't be loaded, or the manifest lacks what cameras need.
    """

    def __init__(self, bundle: Bundle, run: VlRunner) -> None:
        self._run = run
        part = bundle.manifest.policy
        if part is None or part.image_token_id is None or part.image_processor is None:
            raise BundleError("has cameras but no image processor", where=bundle.root, remedy="export again")
        self._preprocess = ImagePreprocessor.from_manifest(part.image_processor)
        prompts = PromptEncoder(bundle.path("policy"), part.image_token_id, self._preprocess.merge_size)

        @lru_cache(maxsize=_PROMPTS)
        def encode_prompt(
            text: str, grid: tuple[tuple[int, ...], ...]
        ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
            return prompts.encode(text, np.array(grid, np.int64))

        self._encode_prompt = encode_prompt

    def __call__(self, frames: Sequence[Frame], instruction: str) -> VlFeatures:
        """Encode one frame of each camera, in the robot spec's order, with the instruction.

        Raises:
            InputError: a frame can't be decoded, or the instruction holds an image placeholder.
        """
        start = time.perf_counter()
        pixel_values, grid = self._preprocess([frame.jpeg for frame in frames])
        input_ids, position_ids = self._encode_prompt(instruction, tuple(map(tuple, grid.tolist())))
        feeds: Feeds = {
            "pixel_values": pixel_values[None],
            "image_grid_thw": grid[None],
            "input_ids": input_ids,
            "position_ids": position_ids.transpose(1, 0, 2),
        }
        features = self._run(feeds)
        exposed_ns = min(frame.stamp_ns for frame in frames)
        mask = np.ones(features.shape[:2], np.float32)
        return VlFeatures(features, mask, exposed_ns, 1e3 * (time.perf_counter() - start))
