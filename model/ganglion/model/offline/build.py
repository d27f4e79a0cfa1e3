"""Making one offline base: tokenizer, random weights, pretext training, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganglion.model.offline.card import model_card
from ganglion.model.offline.drawings import draw
from ganglion.model.offline.families import PIXELS, image_processor, model_config
from ganglion.model.offline.lessons import lesson
from ganglion.model.offline.pretext import RECIPE, train_pretext
from ganglion.model.offline.tokenizer import CHAT_WORDS, train_tokenizer
from ganglion.model.offline.words import sentences

SEED = 20240
PROSE_LINES, LESSON_LINES = 6000, 1500


def build(family: str, folder: Path, *, pretext: bool) -> None:
    """Write the checkpoint of `family` to `folder`, which must not exist yet."""
    tokenizer = train_tokenizer(corpus())
    model, processor = random_model(family, tokenizer)
    if pretext:
        train_pretext(model, processor)
    folder.mkdir()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    card = model_card(family, model, PIXELS[family].side, RECIPE if pretext else None)
    (folder / "README.md").write_text(card, encoding="utf-8")


def corpus() -> list[str]:
    """The tokenizer's training text."""
    lessons = [lesson(draw(SEED, k % 60), k) for k in range(LESSON_LINES)]
    chat = CHAT_WORDS * (LESSON_LINES // 10)
    return [*sentences(PROSE_LINES, SEED), *chat, *(text for one in lessons for text in (one.prompt, one.answer))]


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
