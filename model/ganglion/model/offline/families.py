"""Qwen-VL families at two to three million parameters and Qwen2 at one: configs of the real transformers classes.

Every Linear is 64 or a multiple of it wide, which bitsandbytes' block size of 64 asks for. The text part is the same in
all three; what differs is what differs at full size too: windowed vision attention in 2.5, learned vision positions,
deepstack and interleaved rotary sections in 3. Qwen2 is the text part alone. FINE is a Qwen3-VL that sees more: what
tasks need that are about small things in their places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
# The three axes (time, height, width) share the 16 rotary frequencies of a 32-wide head. An image is 4 x 4 tokens here:
# with the base of full size, 1e4 and more, the angles of its rows and columns would differ by next to nothing.
ROTARY_SECTIONS = [2, 7, 7]
ROTARY_BASE = 10.0
# Without images the angles of words count: the slowest frequency tells positions apart over some thousands of words.
# Of 1e3 and 1e4, and with three learning rates, 1e3 learned to find and copy words the soonest.
TEXT_ROTARY_BASE = 1000.0
# Of Qwen3-VL each axis has fast and slow frequencies, as they are interleaved: here image tokens are told apart by the
# fast ones and words by the slow ones too.
FINE_ROTARY_SECTIONS = [6, 5, 5]
VISION_WIDTH, VISION_HEADS, VISION_DEPTH, VISION_FEED_FORWARD = 128, 4, 4, 384
# Wider than the 0.02 of full size, which leaves a 128-wide network's signals too small to learn from quickly.
INITIALIZER_RANGE = 0.08


@dataclass(frozen=True)
class Pixels:
    """How a family sees: square patches, and the image side it was made for (pixels).

    kind  the transformers model type
    """

    kind: str
    patch: int
    side: int
    clip_colors: bool


LANGUAGE_MODELS = ("qwen2",)
FINE = "qwen3_vl_256"
PIXELS = {
    "qwen2_vl": Pixels("qwen2_vl", patch=14, side=112, clip_colors=True),
    "qwen2_5_vl": Pixels("qwen2_5_vl", patch=14, side=112, clip_colors=True),
    # 128 is the nearest side to 112 that 2 x 2 merged patches of 16 divide.
    "qwen3_vl": Pixels("qwen3_vl", patch=16, side=128, clip_colors=False),
    FINE: Pixels("qwen3_vl", patch=16, side=256, clip_colors=False),
}


def model_config(family: str, tokenizer: Any) -> Any:
    """The transformers config of a family for a tokenizer, vocabulary padded to a multiple of 64."""
    import transformers

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    text = TEXT | {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "initializer_range": INITIALIZER_RANGE,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family in LANGUAGE_MODELS:
        rotary = {"rope_type": "default", "rope_theta": TEXT_ROTARY_BASE}
        return transformers.Qwen2Config(**text, rope_parameters=rotary)
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": ROTARY_BASE, "mrope_section": ROTARY_SECTIONS}
    if family == FINE:
        text["rope_parameters"] |= {"rope_theta": TEXT_ROTARY_BASE, "mrope_section": FINE_ROTARY_SECTIONS}
    kind = PIXELS[family].kind
    if kind == "qwen3_vl":
        text["head_dim"] = TEXT["hidden_size"] // TEXT["num_attention_heads"]
        text["rope_parameters"] |= {"mrope_interleaved": True}
    names = {"qwen2_vl": "Qwen2VLConfig", "qwen2_5_vl": "Qwen2_5_VLConfig", "qwen3_vl": "Qwen3VLConfig"}
    return getattr(transformers, names[kind])(
        text_config=text,
        vision_config=_vision(family),
        tie_word_embeddings=True,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )


def _vision(family: str) -> dict[str, Any]:
    width, kind = TEXT["hidden_size"], PIXELS[family].kind
    common = {
        "depth": VISION_DEPTH,
        "num_heads": VISION_HEADS,
        "patch_size": PIXELS[family].patch,
        "initializer_range": INITIALIZER_RANGE,
    }
    if kind == "qwen2_vl":
        ratio = VISION_FEED_FORWARD // VISION_WIDTH
        return common | {"embed_dim": VISION_WIDTH, "hidden_size": width, "mlp_ratio": ratio}
    common |= {"hidden_size": VISION_WIDTH, "out_hidden_size": width, "intermediate_size": VISION_FEED_FORWARD}
    if kind == "qwen2_5_vl":
        return common | {"window_size": 112, "fullatt_block_indexes": [VISION_DEPTH - 1]}
    return common | {"num_position_embeddings": _POSITIONS**2, "deepstack_visual_indexes": [1, 2]}


_POSITIONS = 16  # a side of the table of learned positions, which is stretched over an image


def image_processor(family: str) -> Any:
    """The family's image processor (PIL), for images of its side; larger ones are scaled to it."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pixels = PIXELS[family]
    colors = {} if pixels.clip_colors else {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return Qwen2VLImageProcessorPil(
        patch_size=pixels.patch,
        temporal_patch_size=2,
        merge_size=2,
        min_pixels=pixels.side**2 // 4,
        max_pixels=pixels.side**2,
        **colors,
    )
