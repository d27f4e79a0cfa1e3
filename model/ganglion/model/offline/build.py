"""Making one offline base: tokenizer, random weights, pretext training, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganglion.model.offline.families import image_processor, model_config
from ganglion.model.offline.tokenizer import train_tokenizer
from ganglion.model.offline.words import sentences

SEED = 20240
CORPUS_LINES = 6000


def build(family: str, folder: Path, *, pretext: bool) -> None:
    """Write the checkpoint of `family` to `folder`, which must not exist yet."""
    tokenizer = train_tokenizer(corpus())
    model, processor = random_model(family, tokenizer)
    folder.mkdir()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def corpus() -> list[str]:
    """The tokenizer's training text."""
    return list(sentences(CORPUS_LINES, SEED))


def random_model(family: str, tokenizer: Any) -> tuple[Any, Any]:
    """A model with random weights (seeded, the caller's random state untouched) and its processor."""
    import torch
    from transformers import AutoModelForImageTextToText

    from ganglion.model.processor import image_only

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = AutoModelForImageTextToText.from_config(model_config(family, tokenizer), dtype=torch.float32)
    settings = model.generation_config
    settings.do_sample = False
    settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    processor = image_only(family)(image_processor(family), tokenizer, chat_template=tokenizer.chat_template)
    return model, processor
