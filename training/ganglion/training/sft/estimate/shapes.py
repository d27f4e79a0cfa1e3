"""The numbers of a decoder and of a vision tower that memory and operations depend on."""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.core.errors import InputError
from ganglion.training.sft.estimate.skeleton import VISION, Linear, Skeleton

_TOWER_BLOCK = f"{VISION}.blocks.0."


@dataclass(frozen=True)
class Decoder:
    """A stack of decoder layers. Widths are of vectors per token."""

    layers: int
    width: int
    inner: int
    """Of the feed-forward part."""
    heads: int
    queries: int
    """Width of all heads together."""
    keys: int
    """Width of all keys together; fewer heads than the queries' in grouped attention."""
    vocabulary: int
    normed_heads: bool
    """Whether queries and keys are normed, as in Qwen3."""
    readers: tuple[tuple[Linear, ...], ...]
    """Linear layers of one layer by what they read: the layer's input, attention, its output, the inner vector."""
    gated: bool


@dataclass(frozen=True)
class Tower:
    """A stack of vision blocks. Widths are of vectors per patch."""

    depth: int
    width: int
    inner: int
    heads: int
    patch_values: int
    """Numbers in one patch: colors, frames, rows, columns."""
    merge: int
    """Patches that make one token."""
    quick_gelu: bool
    gated: bool
    """Qwen2.5-VL's tower: a gated feed-forward part, and RMSNorm."""
    window: int | None
    """Patches that see each other in most blocks; None where all of an image do in every block."""
    whole_blocks: tuple[int, ...]
    """Blocks without windows."""
    readers: tuple[tuple[Linear, ...], ...]
    """As in a decoder."""
    mergers: tuple[Linear, ...]

    def seen(self, patches: int) -> int:
        """Patches of an image of `patches` that one patch attends to, summed over the blocks."""
        if self.window is None:
            return self.depth * patches
        whole = len([block for block in self.whole_blocks if block < self.depth])
        return whole * patches + (self.depth - whole) * min(patches, self.window)


def decoder(model: Skeleton) -> Decoder:
    """Of the text part."""
    text = model.text
    heads = int(text.num_attention_heads)
    head_width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    first = next(x.name for x in model.linears if not x.in_vision and "layers.0." in x.name).partition("layers.0.")[0]
    readers = _readers(model, f"{first}layers.0.")
    return Decoder(
        layers=int(text.num_hidden_layers),
        width=int(text.hidden_size),
        inner=int(text.intermediate_size),
        heads=heads,
        queries=heads * head_width,
        keys=int(getattr(text, "num_key_value_heads", None) or heads) * head_width,
        vocabulary=int(text.vocab_size),
        normed_heads=str(text.model_type).startswith("qwen3"),
        readers=readers,
        gated=_is_gated(readers),
    )


def tower(model: Skeleton) -> Tower | None:
    """Of the vision part; None where there is none.

    Raises:
        InputError: it is built otherwise than Qwen-VL's.
    """
    if model.vision is None:
        return None
    vision, readers = model.vision, _readers(model, _TOWER_BLOCK)
    if not all(readers):
        raise InputError(f"the vision tower of {model.config.model_type} is not known", remedy="give a Qwen-VL base")
    window = getattr(vision, "window_size", None)
    return Tower(
        depth=int(vision.depth),
        width=readers[0][0].inputs,
        inner=readers[2][0].outputs,
        heads=int(vision.num_heads),
        patch_values=int(vision.in_channels * vision.temporal_patch_size * vision.patch_size**2),
        merge=int(vision.spatial_merge_size**2),
        quick_gelu=vision.hidden_act == "quick_gelu",
        gated=_is_gated(readers),
        window=None if window is None else int((window // vision.patch_size) ** 2),
        whole_blocks=tuple(getattr(vision, "fullatt_block_indexes", ())),
        readers=readers,
        mergers=tuple(x for x in model.linears if x.is_merger),
    )


_READERS = (
    ("q_proj", "k_proj", "v_proj", "qkv", "c_attn"),
    ("o_proj", "proj"),
    ("gate_proj", "up_proj", "fc1", "linear_fc1", "c_fc"),
    ("down_proj", "fc2", "linear_fc2", "c_proj"),
)


def _readers(model: Skeleton, block: str) -> tuple[tuple[Linear, ...], ...]:
    inside = [x for x in model.linears if block in x.name]
    return tuple(tuple(x for x in inside if x.name.rpartition(".")[2] in names) for names in _READERS)


def _is_gated(readers: tuple[tuple[Linear, ...], ...]) -> bool:
    return any(x.name.endswith("gate_proj") for x in readers[2])
