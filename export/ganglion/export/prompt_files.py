"""What serving needs to make a prompt without the training libraries: tokenizer and chat template."""

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
