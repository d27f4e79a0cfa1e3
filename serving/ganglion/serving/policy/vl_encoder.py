"""Camera frames and the instruction to VL features, at camera rate.

What is done here, on the host's CPU (`VlFeeds`), is apart from the running of the graph, which may be another server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError, GanglionError
from ganglion.core.messages import Frame
from ganglion.serving.vlm.preprocess import ImagePreprocessor
from ganglion.serving.vlm.prompt import PromptEncoder
from ganglion.serving.vlm.session import open_session

Array = npt.NDArray[np.float32]
Feeds = dict[str, npt.NDArray[Any]]
VlRunner = Callable[[Feeds], npt.NDArray[Any]]
"""Runs vl_encoder.onnx somewhere: its inputs by name -> vl_features (1, T, width) float32. What takes long must end by
itself, for closing the engine waits for it."""

_PROMPTS = 64


@dataclass(frozen=True)
class VlFeatures:
    """What the backbone made of one set of frames.

    features    (1, T, width) float32
    mask        (1, T) float32, ones
    exposed_ns  source stamp of the oldest frame used
    encode_ms   how long it took, decoding and preprocessing included
    """

    features: Array
    mask: Array
    exposed_ns: int
    encode_ms: float


class VlFeeds:
    """Frames and an instruction as the inputs of vl_encoder.onnx. Any number of threads may call it at once.

    Raises:
        BundleError: the manifest or the folder lacks what cameras need.
    """

    def __init__(self, bundle: Bundle) -> None:
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

    def __call__(self, frames: Sequence[Frame], instruction: str) -> Feeds:
        """pixel_values (1, N, D) float32; image_grid_thw (1, I, 3), input_ids (1, T), position_ids (1, 3, T) int64.

        Raises:
            InputError: a frame can't be decoded, or the instruction holds an image placeholder.
        """
        pixel_values, grid = self._preprocess([frame.jpeg for frame in frames])
        input_ids, position_ids = self._encode_prompt(instruction, tuple(map(tuple, grid.tolist())))
        return {
            "pixel_values": pixel_values[None],
            "image_grid_thw": grid[None],
            "input_ids": input_ids,
            "position_ids": position_ids.transpose(1, 0, 2),
        }


class VlEncoder:
    """Frames and an instruction -> VlFeatures.

    Args:
        feeds: what a runner is given.
        run: the graph, here (`local_runner`) or elsewhere.
        width: of a VL token.
    """

    def __init__(self, feeds: VlFeeds, run: VlRunner, width: int) -> None:
        self._feeds, self._run, self._width = feeds, run, width

    def __call__(self, frames: Sequence[Frame], instruction: str) -> VlFeatures:
        """Encode one frame of each camera, in the robot spec's order, with the instruction.

        Raises:
            InputError: as `VlFeeds`.
            GanglionError: the runner gave something else than finite float32 features of its shape.
        """
        start = time.perf_counter()
        feeds = self._feeds(frames, instruction)
        features = self._run(feeds)
        expected = (1, feeds["input_ids"].shape[1], self._width)
        if features.shape != expected or features.dtype != np.float32 or not np.isfinite(features).all():
            finite = "" if np.isfinite(features).all() else ", not all finite"
            raise GanglionError(
                f"gave {features.dtype} {features.shape}{finite}, expected float32 {expected}", where="VL encoder"
            )
        exposed_ns = min(frame.stamp_ns for frame in frames)
        mask = np.ones(features.shape[:2], np.float32)
        return VlFeatures(features, mask, exposed_ns, 1e3 * (time.perf_counter() - start))


def local_runner(bundle: Bundle, threads: int) -> VlRunner:
    """vl_encoder.onnx of a bundle, in this process.

    Raises:
        BundleError: it can't be loaded.
    """
    session = open_session(bundle.path("policy/vl_encoder.onnx"), threads=threads)

    def run(feeds: Feeds) -> npt.NDArray[Any]:
        (features,) = session.run(None, feeds)
        return np.asarray(features)

    return run
