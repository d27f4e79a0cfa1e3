"""What serving needs to make a prompt without the training libraries: tokenizer, chat template, image settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError


def write_prompt_files(processor: Any, folder: Path) -> None:
    """Write tokenizer.json and chat_template.jinja into `folder`.

    Raises:
        InputError: the checkpoint has no chat template.
    """
    folder.mkdir(parents=True, exist_ok=True)
    template = processor.chat_template or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise InputError("the checkpoint has no chat template", remedy="use an instruction-tuned base")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    text = processor.tokenizer.backend_tokenizer.to_str(pretty=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


def image_settings(processor: Any) -> dict[str, Any]:
    """The manifest's `image_processor` of a processor."""
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
