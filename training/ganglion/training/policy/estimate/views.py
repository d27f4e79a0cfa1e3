"""A backbone without weights, and what it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.images import ImageLike, encode_jpeg, open_image
from ganglion.core.specs import RobotSpec
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import BackboneFacts, feature_layer
from ganglion.model.backbone.views import EncodedViews, ViewProcessor
from ganglion.model.processor import PROCESSORS
from ganglion.training.estimate import config_place, image_tokens, read_config, weights_dtype
from ganglion.training.estimate.weightless import hollow
from ganglion.training.policy.batch import Pictures
from ganglion.training.policy.config import VlOptions

# Of Qwen-VL's template with its system prompt, and beside those of each image; letters per token of text are guessed.
_TEMPLATE_TOKENS, _AROUND_IMAGE, _LETTERS = 20, 2, 3


def meta_backbone(options: VlOptions, on_gpu: bool) -> Backbone:
    """The backbone that a run would load, on the meta device.

    Raises:
        InputError: there is no such base, it takes no images, or it has no such layer.
    """
    from transformers import AutoModelForImageTextToText

    place = config_place(options.base)
    config = read_config(place)
    if config.model_type not in PROCESSORS:
        raise InputError("takes no images", where=options.base, remedy="give a Qwen-VL checkpoint")
    facts = BackboneFacts(
        base=options.base,
        base_hash="",
        model_type=config.model_type,
        vl_layer=feature_layer(options.base, config, options.layer),
        vl_width=int(config.get_text_config().hidden_size),
        vl_precision=weights_dtype(config, on_gpu),
        image_processor={},
        prompt="",
    )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, facts.vl_precision))
        return Backbone(facts, "meta", (_processor(place, config, options.max_pixels), model))


def blank_pictures(robot: RobotSpec, rows: int, instruction: str) -> Pictures:
    """Blank frames of all cameras for `rows` rows.

    The first has no words: rows of one batch differ in length, and are padded.
    """
    frames = [encode_jpeg(np.zeros((camera.height, camera.width, 3), np.uint8)) for camera in robot.cameras]
    return Pictures([frames] * rows, ["", *[instruction] * (rows - 1)] if rows > 1 else [instruction])


def _processor(place: str, config: Any, max_pixels: int | None) -> ViewProcessor:
    try:
        return ViewProcessor(place, max_pixels)
    except GanglionError:
        return GuessedViews(config, max_pixels)


class GuessedViews(ViewProcessor):
    """A base's processor where only its config is at hand: images as Qwen-VL's rule says, text by its letters."""

    def __init__(self, config: Any, max_pixels: int | None) -> None:
        self._config, self._max_pixels = config, max_pixels

    def __call__(self, images: Sequence[Sequence[ImageLike]], instructions: Sequence[str]) -> EncodedViews:
        """See ViewProcessor; every row has as many images."""
        vision = self._config.vision_config
        shown = [image_tokens(vision, open_image(image, "frame").size, self._max_pixels) for image in images[0]]
        of_images, rows = sum(one.tokens + _AROUND_IMAGE for one in shown), len(images)
        lengths = [_TEMPLATE_TOKENS + of_images + len(text) // _LETTERS for text in instructions]
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        kinds = torch.zeros_like(mask, dtype=torch.int64)
        at = 1
        for one in shown:
            kinds[:, at : at + one.tokens] = 1
            at += one.tokens + _AROUND_IMAGE
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        inputs = {
            "input_ids": torch.where(kinds > 0, self._config.image_token_id, 0),
            "attention_mask": mask.long(),
            "mm_token_type_ids": kinds,
            "pixel_values": hollow(rows * sum(one.patches for one in shown), values),
            "image_grid_thw": torch.tensor([[1, one.rows, one.columns] for one in shown] * rows),
        }
        return EncodedViews(rows, torch.arange(rows), inputs)
