"""Backbone: the lower part of a Qwen-VL, whose hidden states for images and instruction are the VL features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.core.images import ImageLike
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.model.backbone.options import FinetuneOptions
from ganglion.model.backbone.views import EncodedViews, ViewProcessor
from ganglion.model.checkpoint import resolve_base
from ganglion.model.tuning import checkpoint_layers
from ganglion.model.vlm import load_vlm, preferred_device


class Backbone(nn.Module):
    """Vision tower and text layers up to the chosen one; what lies above is dropped when the base has been loaded.

    Frozen and in evaluation mode until ganglion.model.backbone.finetune lets a part of it learn.

    Args:
        facts: from `describe_backbone`, or what a run or a cache noted.
        device: None takes the GPU if there is one, else the CPU.
        loaded: processor and whole model in the place of the base's own; an estimate has a model without weights.

    Raises:
        InputError: there is no such base.
        GanglionError: it doesn't fit into memory.
    """

    def __init__(
        self,
        facts: BackboneFacts,
        device: torch.device | str | None = None,
        loaded: tuple[ViewProcessor, Any] | None = None,
    ) -> None:
        super().__init__()
        self.facts = facts
        self.dtype: torch.dtype = getattr(torch, facts.vl_precision)
        self.encode, model = loaded or _load(facts, self.dtype)
        # Cut before it moves, so that a GPU never holds what is dropped.
        model = cut(model, facts.vl_layer).requires_grad_(False)
        self.model = model.to(device if device is not None else preferred_device())
        self.tuned = FinetuneOptions()  # what of it learns, see ganglion.model.backbone.finetune
        self.autocast = False  # where what learns is of another precision than the rest
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found: torch.device = next(self.model.parameters()).device
        return found

    def forward(self, views: EncodedViews) -> tuple[Tensor, Tensor]:
        """VL features of B rows; gradients flow to what learns.

        Args:
            views: from `self.encode`; on any device.

        Returns:
            features: (B, T, vl_width) float32, 0 where there is no token. A row's features stand first and are what it
                would get alone.
            mask: (B, T) bool, where there is a token; a row without an image has none.
        """
        views = views.to(self.device)
        if not views.inputs:
            empty = torch.zeros(views.count, 1, self.facts.vl_width, device=self.device)
            return empty, empty[..., 0].bool()
        with torch.autocast(self.device.type, self.dtype, enabled=self.autocast):
            found = hidden_states(self.model, views.inputs).float()
        there = views.inputs["attention_mask"].bool()
        found = found.where(there[..., None], 0.0)
        if len(views.seen) == views.count:
            return found, there
        features = found.new_zeros(views.count, *found.shape[1:]).index_copy(0, views.seen, found)
        mask = there.new_zeros(views.count, there.shape[1]).index_copy(0, views.seen, there)
        return features, mask

    def features(self, images: Sequence[Sequence[ImageLike]], instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """`encode` and `forward` in one: see both."""
        found: tuple[Tensor, Tensor] = self(self.encode(images, instructions))
        return found

    def checkpoint_gradients(self) -> None:
        """Keep the inputs of layers alone for the backward pass and compute the rest again: in training mode only."""
        checkpoint_layers(self.model)


def _load(facts: BackboneFacts, dtype: torch.dtype) -> tuple[ViewProcessor, Any]:
    path = resolve_base(facts.base)
    return ViewProcessor(path, facts.image_processor["max_pixels"]), load_vlm(path, dtype=dtype, device="cpu")


def cut(model: Any, layer: int) -> Any:
    """Drop what a VLM computes above text layer `layer`, in place: its last hidden states become that layer's.

    They are the residual stream, before the final norm; with Qwen3-VL what deepstack adds after that layer is in it.

    Args:
        model: from load_vlm.
        layer: 0 = embeddings with the images in place, the model's depth = after the last layer.
    """
    text = multimodal(model).language_model
    text.layers, text.norm = text.layers[:layer], nn.Identity()
    model.lm_head = nn.Identity()
    return model


def hidden_states(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(B, T, width), of the precision of the model; positions that attention_mask leaves out are meaningless."""
    found: Tensor = multimodal(model)(**inputs, use_cache=False).last_hidden_state
    return found


def multimodal(model: Any) -> Any:
    """The part of a VLM that lies below its output head, with or without a PEFT adapter around it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model
