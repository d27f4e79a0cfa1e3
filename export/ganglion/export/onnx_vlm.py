"""A Qwen-VL as ONNX: vision, embed and decoder for text, and the policy's encoder of image and instruction.

A causal language model has embed and decoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ganglion.core.errors import InputError
from ganglion.export.onnx_file import Read, TracedModule, write_onnx
from ganglion.export.text_graph import (
    DecoderGraph,
    EmbedGraph,
    HiddenStatesGraph,
    deepstack_levels,
    image_token_id,
    text_of,
    visual_of,
)
from ganglion.export.vision_graph import VisionGraph

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
LANGUAGE_MODELS = ("llama", "qwen2", "qwen3")
_PIXELS = {0: "patches"}
_GRID = {0: "images"}


class VlmGraphs:
    """The graphs of a float32 Qwen-VL: vision, embed and decoder; of a causal language model the latter two.

    Args:
        model: with its weights, or a skeleton.

    Raises:
        InputError: the model is of a family that has no graphs here.
    """

    def __init__(self, model: Any) -> None:
        check_family(model)
        model = model.eval()
        text, levels = text_of(model), deepstack_levels(model)
        width = text.config.hidden_size * (1 + levels)
        self._vision = None
        if image_token_id(model) is not None:
            self._vision = TracedModule(
                VisionGraph(visual_of(model)),
                example_pixels(model),
                inputs=("pixel_values", "image_grid_thw"),
                outputs=("image_features",),
                dynamic=(_PIXELS, _GRID),
            )
        self._embed = TracedModule(
            EmbedGraph(text.embed_tokens, image_token_id(model), levels),
            (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(3, width)),
            inputs=("input_ids", "image_features"),
            outputs=("inputs_embeds",),
            dynamic=({0: "batch", 1: "tokens"}, {0: "image_tokens"}),
        )
        self._decoder = _trace_decoder(model, text, levels)

    def write(
        self, folder: Path, *, read: Read | None = None, language: str = "float32", vision: str = "float32"
    ) -> None:
        """Write vision.onnx, embed.onnx and decoder.onnx.

        Args:
            folder: is made.
            read: gives the weights of a parameter; default is the parameter itself.
            language: precision of the decoder's products, see ganglion.export.packing.
            vision: precision of the vision tower's.
        """
        if self._vision:
            self._vision.write(folder / "vision.onnx", precision=vision, read=read)
        self._embed.write(folder / "embed.onnx", read=read)
        self._decoder.write(folder / "decoder.onnx", precision=language, read=read)


def export_vl_encoder(model: Any, path: Path, *, language: str = "float32", vision: str = "float32") -> None:
    """Write the graph from image and instruction to VL features, of a float32 Qwen-VL that was cut at their layer.

    Inputs pixel_values (B, patches, patch values), image_grid_thw (B, images, 3), input_ids (B, T), position_ids
    (B, 3, T); output vl_features (B, T, width).

    Args:
        model: with its weights.
        path: the file.
        language: precision of the text layers' products, see ganglion.export.packing.
        vision: precision of the vision tower's.

    Raises:
        InputError: the family is unknown here.
    """
    check_family(model)
    pixel_values, grid = example_pixels(model)
    tokens = pixel_values.shape[0] // model.config.vision_config.spatial_merge_size**2
    ids = torch.cat([torch.zeros(1, 4), torch.full((1, tokens), model.config.image_token_id), torch.ones(1, 3)], 1)
    one = (pixel_values, grid, ids[0].long(), torch.arange(ids.shape[1]).expand(3, -1))
    write_onnx(
        HiddenStatesGraph(model.eval()),
        tuple(torch.stack([part, part]) for part in one),
        path,
        inputs=("pixel_values", "image_grid_thw", "input_ids", "position_ids"),
        outputs=("vl_features",),
        dynamic=(
            {0: "batch", 1: "patches"},
            {0: "batch", 1: "images"},
            {0: "batch", 1: "tokens"},
            {0: "batch", 2: "tokens"},
        ),
        precision={"text.": language, "vision.": vision},
    )


def check_family(model: Any) -> None:
    """Refuse what has no graphs here.

    Raises:
        InputError: naming the family found and those that can be exported.
    """
    family = model.config.model_type
    if family not in (*FAMILIES, *LANGUAGE_MODELS):
        raise InputError(f"can't export a {family!r}", remedy=f"use one of {[*FAMILIES, *LANGUAGE_MODELS]}")


def example_pixels(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Two unequal images to trace with: pixel_values (N, patch values) and image_grid_thw (2, 3)."""
    config = model.config.vision_config
    side = 2 * config.spatial_merge_size
    grid = torch.tensor([[1, side, side], [1, side, 2 * side]])
    values = config.temporal_patch_size * config.patch_size**2 * getattr(config, "in_channels", 3)
    return torch.zeros(int(grid.prod(-1).sum()), values), grid


def _trace_decoder(model: Any, text: Any, levels: int) -> TracedModule:
    config = text.config
    layers, heads = config.num_hidden_layers, config.num_key_value_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    batch, new, cached = 2, 3, 4
    past = [torch.zeros(batch, heads, cached, head_width) for _ in range(2 * layers)]
    return TracedModule(
        DecoderGraph(text, model.lm_head, levels),
        (
            torch.zeros(batch, new, config.hidden_size * (1 + levels)),
            torch.ones(batch, cached + new, dtype=torch.int64),
            torch.zeros(3, batch, new, dtype=torch.int64),
            torch.tensor([1, 2]),
            past,
        ),
        inputs=("inputs_embeds", "attention_mask", "position_ids", "logits_at", *cache_names("past", layers)),
        outputs=("logits", *cache_names("present", layers)),
        dynamic=(
            {0: "batch", 1: "tokens"},
            {0: "batch", 1: "all_tokens"},
            {1: "batch", 2: "tokens"},
            {0: "rows"},
            [{0: "batch", 2: "cached_tokens"}] * (2 * layers),
        ),
    )


def cache_names(prefix: str, layers: int) -> list[str]:
    """Names of the cache's tensors in order: past.0.key, past.0.value, past.1.key, ..."""
    return [f"{prefix}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
