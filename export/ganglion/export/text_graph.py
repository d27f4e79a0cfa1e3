"""The language side as graphs: token embedding with images put in, decoder with its cache, and hidden states only.

That of a Qwen-VL, and any causal language model whose layers are called as the library's Llama and Qwen are. The same
inputs serve both: of position_ids a language model reads the first row, and it has no image token.

Shapes: B sequences, T new tokens, P cached ones, S = P + T, K image tokens, H text width, D deepstack levels,
V vocabulary, R rows of which logits are asked.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.core.errors import InputError
from ganglion.export.attention import grouped
from ganglion.export.vision_graph import VisionGraph


class EmbedGraph(nn.Module):
    """input_ids (B, T) and image_features (K, (1 + D) * H), K >= 0 -> inputs_embeds (B, T, (1 + D) * H).

    Image tokens take the features in order, over the whole batch, as far as there are any; other tokens, and an image
    token that the model itself wrote, take their embedding, and zero in the deepstack columns. A row of zeros stands
    before the features, so that steps without an image need no other graph. Without an image token (None) no token is
    one.
    """

    def __init__(self, embedding: nn.Module, image_token: int | None, levels: int) -> None:
        super().__init__()
        self.embedding, self.image_token, self.levels = embedding, -1 if image_token is None else image_token, levels

    def forward(self, input_ids: Tensor, image_features: Tensor) -> Tensor:
        """See the class."""
        text = self.embedding(input_ids)
        if self.levels:
            text = torch.cat([text, text.new_zeros(*text.shape[:-1], self.levels * text.shape[-1])], -1)
        is_image = (input_ids == self.image_token).flatten().long()
        features = torch.cat([image_features.new_zeros(1, text.shape[-1]), image_features])
        row = is_image.cumsum(0) * is_image
        row = torch.where(row < features.shape[0], row, 0).reshape(input_ids.shape)
        return torch.where((row > 0)[..., None], features[row], text)


class DecoderGraph(nn.Module):
    """One pass over T new tokens -> logits (B, R, V), then present keys and values, each (B, heads, S, head width).

    Args of forward:
        inputs_embeds: (B, T, (1 + D) * H).
        attention_mask: (B, S) int64, 0 where a token is padding.
        position_ids: (3, B, T) int64, temporal, row and column.
        logits_at: (R,) int64, which of the T tokens need logits: the last alone when generating.
        past: keys and values in turn for each layer, each (B, heads, P, head width), P >= 0.
    """

    def __init__(self, text: nn.Module, head: nn.Module, levels: int) -> None:
        super().__init__()
        self.text, self.head, self.levels = text, head, levels

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, logits_at: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """See the class."""
        cache = _ConcatenatedCache(past)
        hidden = run_text(self.text, inputs_embeds, attention_mask, position_ids, self.levels, cache)
        return self.head(hidden.index_select(1, logits_at)), *cache.present


class HiddenStatesGraph(nn.Module):
    """Image and instruction -> the last hidden states of a model that was cut (ganglion.model.backbone).

    pixel_values (B, patches, patch values), image_grid_thw (B, images, 3), input_ids (B, T), position_ids (B, 3, T)
    -> vl_features (B, T, H): of B robots, whose pictures have as many patches each. A shorter instruction is filled up
    behind its end, which changes nothing before it; its features there mean nothing.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.levels = text_of(model), deepstack_levels(model)
        self.vision = VisionGraph(visual_of(model))
        self.embed = EmbedGraph(self.text.embed_tokens, image_token_id(model), self.levels)

    def forward(self, pixel_values: Tensor, image_grid_thw: Tensor, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """See the class."""
        embeds = self.embed(input_ids, self.vision(pixel_values.flatten(0, 1), image_grid_thw.flatten(0, 1)))
        positions = position_ids.transpose(0, 1)
        return run_text(self.text, embeds, torch.ones_like(input_ids), positions, self.levels, None)


def run_text(
    text: Any, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, levels: int, cache: Any
) -> Tensor:
    """The library's text model on a mask made here; (B, T, H) after its norm."""
    width = inputs_embeds.shape[-1] // (1 + levels)
    total, new = attention_mask.shape[1], inputs_embeds.shape[1]
    key = torch.arange(total, device=inputs_embeds.device)
    query = torch.arange(new, device=inputs_embeds.device) + (total - new)
    allowed = (key[None, :] <= query[:, None])[None, None] & (attention_mask != 0)[:, None, None, :]
    mask = torch.where(allowed, 0.0, torch.finfo(inputs_embeds.dtype).min).to(inputs_embeds.dtype)
    extra: dict[str, Any] = {}
    if levels:
        deepstack = list(torch.split(inputs_embeds[..., width:], width, -1))
        text = _with_dense_deepstack(text)
        extra = {"deepstack_visual_embeds": deepstack, "visual_pos_masks": None}
    with grouped(text.config):
        output = text(
            inputs_embeds=inputs_embeds[..., :width],
            attention_mask=mask,
            position_ids=position_ids if hasattr(text.rotary_emb, "mrope_section") else position_ids[0],
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        )
    hidden: Tensor = output.last_hidden_state
    return hidden


def image_token_id(model: Any) -> int | None:
    """The token that stands for a piece of an image; None for a language model."""
    return getattr(model.config, "image_token_id", None)


def text_of(model: Any) -> Any:
    """The text model of a Qwen-VL, or a language model without its head.

    Raises:
        InputError: it attends within a sliding window, which the graphs don't.
    """
    text = getattr(model.model, "language_model", model.model)
    kinds = set(getattr(text.config, "layer_types", None) or ("full_attention",))
    if kinds != {"full_attention"}:
        raise InputError(f"the text layers use {sorted(kinds)}", remedy="export a model with full attention")
    return text


def visual_of(model: Any) -> Any:
    """The vision tower of a Qwen-VL."""
    return model.model.visual


def deepstack_levels(model: Any) -> int:
    """After how many text layers visual features are added once more; 0 but for Qwen3-VL."""
    return len(getattr(getattr(model.config, "vision_config", None), "deepstack_visual_indexes", ()))


def _with_dense_deepstack(text: Any) -> Any:
    """The same text model, adding deepstack features at every token: they are zero where there is no image."""
    dense = copy.copy(text)
    dense._deepstack_process = lambda hidden, mask, features: hidden + features
    return dense


class _ConcatenatedCache:
    """The part of the library's cache that attention calls, with plain tensors that a trace can follow."""

    def __init__(self, past: list[Tensor]) -> None:
        self.present = list(past)

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        at = slice(2 * layer_idx, 2 * layer_idx + 2)
        self.present[at] = [torch.cat([old, new], 2) for old, new in zip(self.present[at], (key, value), strict=True)]
        return self.present[2 * layer_idx], self.present[2 * layer_idx + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.present[2 * layer_idx].shape[2]
