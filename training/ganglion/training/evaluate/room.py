"""Whether a prompt leaves a model room for its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ganglion.core.tasks import Example
from ganglion.model.dialogue.encoding import encode_text
from ganglion.model.dialogue.images import ImageEncoder


def room_for(model: Any, processor: Any, answer_tokens: int) -> Callable[[Example, str], bool]:
    """(example, another prompt for it) -> whether that, its images and an answer are within the model's context.

    Args:
        model: from load_vlm, with or without an adapter.
        processor: from load_processor.
        answer_tokens: to be left for the answer.
    """
    takes = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    read_image = ImageEncoder(processor) if processor.image_token else None

    def fits(example: Example, prompt: str) -> bool:
        if takes is None:
            return True
        text = encode_text(processor, replace(example, prompt=prompt), read_image, with_answer=False)
        return len(text) + answer_tokens <= int(takes)

    return fits
