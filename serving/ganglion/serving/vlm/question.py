"""Images and the turns of a dialogue -> a prompt that is ready to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.core.chat_request import EarlierTurn
from ganglion.core.errors import InputError
from ganglion.core.images import ImageLike
from ganglion.serving.vlm.chat import Said
from ganglion.serving.vlm.preprocess import ImagePreprocessor
from ganglion.serving.vlm.prompt import PromptEncoder


@dataclass(frozen=True)
class Question:
    """A prompt, ready to be read.

    input_ids       (1, T) int64
    position_ids    (3, 1, T) int64
    pixel_values    (N, patch values) of its images; None without any
    image_grid_thw  (I, 3) int64
    """

    input_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    pixel_values: npt.NDArray[np.float32] | None
    image_grid_thw: npt.NDArray[np.int64]


class QuestionReader:
    """Of one model.

    Args:
        preprocess: of images; None for a model that sees none.
        prompts: of text.
        context_tokens: that the model reads.
    """

    def __init__(self, preprocess: ImagePreprocessor | None, prompts: PromptEncoder, context_tokens: int) -> None:
        self._preprocess, self._prompts, self._context_tokens = preprocess, prompts, context_tokens

    def read(self, images: Sequence[ImageLike], prompt: str, history: Sequence[EarlierTurn], system: str) -> Question:
        """See `VlmEngine.ask`.

        Raises:
            InputError: an image can't be decoded or is not expected, or the prompt is too long.
        """
        said = [Said(len(turn.images), turn.prompt, turn.answer) for turn in history]
        images = [*(image for turn in history for image in turn.images), *images]
        pixel_values, grid = None, np.zeros((0, 3), np.int64)
        if images:
            if self._preprocess is None:
                raise InputError("this model sees no images", remedy="ask without, or serve a vision-language model")
            pixel_values, grid = self._preprocess(images)
        ids, positions = self._prompts.encode(prompt, grid, said, system)
        if ids.shape[1] >= self._context_tokens:
            raise InputError(
                f"the prompt takes {ids.shape[1]} tokens, the model reads at most {self._context_tokens}",
                remedy="shorten it, or show fewer or smaller images",
            )
        return Question(ids, positions, pixel_values, grid)
