"""The image-and-text processor of a Qwen-VL checkpoint, without its video part; for a language model, its tokenizer.

Transformers' own AutoProcessor also builds a video processor, which needs torchvision; nothing here uses video, so the
checkpoint's processor class is taken without it. Images are preprocessed with PIL on every machine, so training and
serving see the same pixels whether torchvision is installed or not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError

PROCESSORS = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
}
# For a language model that was never taught to chat, such as CodeLlama-7b-Python: the form of Alpaca's prompts.
_PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n\n### Response:\n"
    "{% else %}{{ message['content'] }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
)


class TextProcessor:
    """A language model's tokenizer in the place of a processor; it takes no images."""

    image_token: str | None = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if tokenizer.pad_token is None:  # padding is masked, so any token will do
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.bos_token is None:
            tokenizer.init_kwargs["bos_token"] = ""

    @property
    def chat_template(self) -> Any:
        """The checkpoint's, or a plain one where it has none."""
        return self.tokenizer.chat_template or _PLAIN_TEMPLATE

    def apply_chat_template(self, messages: Sequence[dict[str, Any]], **options: Any) -> Any:
        """As a processor's."""
        return self.tokenizer.apply_chat_template(messages, chat_template=self.chat_template, **options)


def load_processor(path: str | Path, max_pixels: int | None = None) -> Any:
    """Load a checkpoint's processor: `processor.tokenizer`, `processor.image_processor`, chat template.

    Args:
        path: a resolved base (ganglion.model.checkpoint.resolve_base).
        max_pixels: upper limit of pixels per image after resizing; None keeps the checkpoint's own.

    Returns:
        transformers' processor of a Qwen-VL family, or a TextProcessor (`image_token` None) for a language model.

    Raises:
        InputError: the checkpoint's files can't be used, or max_pixels is below one merged patch.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(path)
        if config.model_type not in PROCESSORS:
            if hasattr(config, "vision_config"):
                raise ValueError(f"model type {config.model_type!r} is none of {sorted(PROCESSORS)}")
            return TextProcessor(AutoTokenizer.from_pretrained(path))
        processor = image_only(config.model_type).from_pretrained(path, backend="pil")
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise InputError(
            f"no usable processor: {reason:.160}",
            where=path,
            remedy="give a Qwen-VL checkpoint or a causal language model",
        ) from error
    if max_pixels is not None:
        _limit(processor.image_processor, max_pixels)
    return processor


def image_settings(processor: Any) -> dict[str, Any]:
    """How a processor turns images into patches, as a bundle's manifest says it."""
    images = processor.image_processor
    return {
        "patch_size": images.patch_size,
        "temporal_patch_size": images.temporal_patch_size,
        "merge_size": images.merge_size,
        "min_pixels": images.size["shortest_edge"],
        "max_pixels": images.size["longest_edge"],
        "image_mean": [float(value) for value in images.image_mean],
        "image_std": [float(value) for value in images.image_std],
    }


@functools.cache
def image_only(family: str) -> type[Any]:
    """A family's transformers processor class with an image processor and a tokenizer only."""
    import transformers

    whole: Any = getattr(transformers, PROCESSORS[family])

    # Transformers reads from this signature which parts there are.
    def __init__(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        whole.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    # The name stays: save_pretrained writes it down as the class to load elsewhere.
    return type(whole.__name__, (whole,), {"__init__": __init__, "__module__": __name__})


def _limit(image_processor: Any, max_pixels: int) -> None:
    factor = image_processor.patch_size * image_processor.merge_size
    if max_pixels < factor**2:
        raise InputError(f"max_pixels is {max_pixels}", remedy=f"give at least {factor**2} ({factor} x {factor})")
    shortest = min(image_processor.size["shortest_edge"], max_pixels)
    image_processor.size = type(image_processor.size)(shortest_edge=shortest, longest_edge=max_pixels)
