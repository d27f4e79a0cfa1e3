"""What identifies a backbone: all that its features depend on beside images and instruction, known without loading it.

Package versions are not among it: what they change in a feature is rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ganglion.core.errors import InputError
from ganglion.model.backbone.views import ViewProcessor
from ganglion.model.checkpoint import base_hash, resolve_base

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class BackboneFacts:
    """One backbone.

    base             as the user named it
    base_hash        of its weights and config
    model_type       its family
    vl_layer         text layer whose hidden states are the VL features, 0 = embeddings
    vl_width         features of a VL token
    vl_precision     of weights and activations: float32, bfloat16 or float16
    image_processor  how images become patches, the upper limit of their pixels included
    prompt           digest of chat template and tokenizer
    """

    base: str
    base_hash: str
    model_type: str
    vl_layer: int
    vl_width: int
    vl_precision: str
    image_processor: Mapping[str, Any]
    prompt: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `read_facts` reads it back equal."""
        return asdict(self)


def read_facts(data: Mapping[str, Any], where: object) -> BackboneFacts:
    """The facts among what a run or a cache noted.

    Raises:
        InputError: one is missing.
    """
    names = [field.name for field in fields(BackboneFacts)]
    if missing := [name for name in names if name not in data]:
        raise InputError(f"has no key {missing[0]!r}", where=where, remedy="run what wrote it again")
    return BackboneFacts(**{name: data[name] for name in names})


def describe_backbone(
    base: str, layer: int | None = None, *, max_pixels: int | None = None, precision: str = "auto"
) -> BackboneFacts:
    """The facts of a base that was chosen; its weights are read once for their hash.

    Args:
        base: as for `resolve_base`, a Qwen2-VL, 2.5-VL or 3-VL.
        layer: text layer; None for half the depth.
        max_pixels: upper limit of pixels per image after resizing; None keeps the checkpoint's own.
        precision: float32, bfloat16, float16, or auto: by hardware and width.

    Raises:
        InputError: no such base, layer or precision, or the base takes no images.
    """
    from transformers import AutoConfig

    from ganglion.model.vlm import preferred_device, preferred_dtype

    if precision not in ("auto", *PRECISIONS):
        raise InputError(f"precision is {precision!r}", remedy=f"use auto or one of {', '.join(PRECISIONS)}")
    path = resolve_base(base)
    processor = ViewProcessor(path, max_pixels)
    config = AutoConfig.from_pretrained(path)
    if precision == "auto":
        precision = str(preferred_dtype(config, preferred_device())).removeprefix("torch.")
    return BackboneFacts(
        base=base,
        base_hash=base_hash(path),
        model_type=str(config.model_type),
        vl_layer=feature_layer(base, config, layer),
        vl_width=int(config.get_text_config().hidden_size),
        vl_precision=precision,
        image_processor=processor.image_settings,
        prompt=processor.prompt_digest(),
    )


def feature_layer(base: str, config: Any, layer: int | None) -> int:
    """The text layer whose hidden states are read: the one that is wanted, or half the depth.

    Raises:
        InputError: the base has no such layer.
    """
    depth = int(config.get_text_config().num_hidden_layers)
    if layer is not None and not 0 <= layer <= depth:
        raise InputError(f"text layer {layer} does not exist", where=base, remedy=f"use 0 to {depth}")
    return depth // 2 if layer is None else layer
