"""What serving needs to make a prompt without the training libraries: tokenizer and chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError


def write_prompt_files(processor: Any, folder: Path) -> None:
    """Write tokenizer.json and chat_template.jinja into `folder`.

    Special tokens that the template names are set in it: whoever renders it need not know them.

    Raises:
        InputError: the checkpoint has no chat template.
    """
    folder.mkdir(parents=True, exist_ok=True)
    template = processor.chat_template or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise InputError("the checkpoint has no chat template", remedy="use an instruction-tuned base")
    for name in ("bos_token", "eos_token"):
        if name in template:
            template = f"{{% set {name} = {json.dumps(getattr(processor.tokenizer, name) or '')} %}}{template}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    text = processor.tokenizer.backend_tokenizer.to_str(pretty=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
