"""What a policy sees, on its way into vl_encoder.onnx: the graph, and images that its stages are compared on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ganglion.export.onnx_vlm import export_vl_encoder
from ganglion.export.prompts import fresh_cases, make_prompts, vl_feeds
from ganglion.export.sessions import open_onnx
from ganglion.export.targets import Precision
from ganglion.model.backbone.backbone import Backbone, hidden_states
from ganglion.model.backbone.finetune import merge_adapter

VL_ENCODER = "vl_encoder.onnx"
_IMAGES = 4
Array = npt.NDArray[np.float32]


class PolicyViews:
    """The backbone of a policy, in float32 and merged, and fresh images for it.

    facts    fields of the manifest's policy part
    prompts  images and text as the library's processor prepares them

    Args:
        backbone: of the policy; what it learned is merged into it.
        cameras: images in each prompt.
    """

    def __init__(self, backbone: Backbone, cameras: int) -> None:
        merge_adapter(backbone)
        self._model, processor = backbone.model, backbone.encode.processor
        images = [(case_images * cameras, text) for case_images, text in fresh_cases(_IMAGES, seed=21)]
        self.prompts = make_prompts(self._model, processor, images)
        self.facts: dict[str, Any] = {
            "base_id": backbone.facts.base,
            "base_hash": backbone.facts.base_hash,
            "image_token_id": int(self._model.config.image_token_id),
            "image_processor": backbone.encode.image_settings,
        }

    def write(self, folder: Path, precision: Precision) -> None:
        """Write vl_encoder.onnx."""
        export_vl_encoder(self._model, folder / VL_ENCODER, language=precision.language, vision=precision.vision)

    @torch.no_grad()
    def trained(self) -> list[Array]:
        """VL features (1, tokens, width) of each prompt, by the backbone."""
        return [hidden_states(self._model, prompt.inputs).numpy() for prompt in self.prompts]

    def exported(self, folder: Path) -> list[Array]:
        """The same by vl_encoder.onnx."""
        encoder, found = open_onnx(folder / VL_ENCODER), []
        for prompt in self.prompts:
            found += encoder.run(None, vl_feeds([prompt]))
        return found
