"""Making one offline base: tokenizer, random weights, pretext training, files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.model.offline.card import model_card, sheet_model_card, text_model_card
from ganglion.model.offline.commands import command
from ganglion.model.offline.drawings import draw
from ganglion.model.offline.families import FINE, LANGUAGE_MODELS, PIXELS, image_processor, model_config
from ganglion.model.offline.icons import ICONS
from ganglion.model.offline.lessons import Lesson, lesson
from ganglion.model.offline.pretext import train_pretext
from ganglion.model.offline.sheet_lessons import sheet_lesson
from ganglion.model.offline.sheet_pretext import train_sheet_pretext
from ganglion.model.offline.sheets import sheet
from ganglion.model.offline.text_pretext import train_text_pretext
from ganglion.model.offline.tokenizer import CHAT_WORDS, train_tokenizer
from ganglion.model.offline.words import sentences

SEED = 20240
PROSE_LINES, LESSON_LINES = 6000, 1500
_DRAWN = 60  # images that these lessons are about, in turn


@dataclass(frozen=True)
class _School:
    """How a kind of base is taught.

    corpus  what its tokenizer is trained on
    train   (model, processor): the pretext training, in place
    card    (family, model, pretext=...) -> the model card, as Markdown
    """

    corpus: Callable[[], list[str]]
    train: Callable[[Any, Any], None]
    card: Callable[..., str]


def build(family: str, folder: Path, *, pretext: bool) -> None:
    """Write the checkpoint of `family` to `folder`, which must not exist yet."""
    school = _school(family)
    tokenizer = train_tokenizer(school.corpus())
    model = random_model(family, tokenizer)
    processor = tokenizer if family in LANGUAGE_MODELS else _processor(family, tokenizer)
    if pretext:
        school.train(model, processor)
    folder.mkdir()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(school.card(family, model, pretext=pretext), encoding="utf-8")


def _school(family: str) -> _School:
    if family in LANGUAGE_MODELS:
        return _School(text_corpus, train_text_pretext, text_model_card)
    if family == FINE:
        return _School(sheet_corpus, train_sheet_pretext, sheet_model_card)
    return _School(corpus, train_pretext, model_card)


def corpus() -> list[str]:
    """What the tokenizers of the families with images are trained on."""
    return _corpus([lesson(draw(SEED, k % _DRAWN), k) for k in range(LESSON_LINES)])


def sheet_corpus() -> list[str]:
    """What the tokenizer of the finer base is trained on."""
    drawn = [sheet(SEED, k).shown for k in range(_DRAWN)]
    about = [sheet_lesson(drawn[k % _DRAWN], k) for k in range(LESSON_LINES)]
    # Each a token, with a space before it or not.
    names = [f"{name}, {name}" for name in ICONS] * (LESSON_LINES // 10)
    return [*names, *_corpus([*about, *(command(f"corpus {k}") for k in range(LESSON_LINES // 3))])]


def text_corpus() -> list[str]:
    """What a language model's tokenizer is trained on."""
    return _corpus([command(f"corpus {k}") for k in range(LESSON_LINES)])


def _corpus(lessons: Sequence[Lesson]) -> list[str]:
    chat = CHAT_WORDS * (LESSON_LINES // 10)
    return [*sentences(PROSE_LINES, SEED), *chat, *(text for one in lessons for text in (one.prompt, one.answer))]


def random_model(family: str, tokenizer: Any) -> Any:
    """A model with random weights (seeded, the caller's random state untouched)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForCausalLM if family in LANGUAGE_MODELS else AutoModelForImageTextToText
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = kind.from_config(model_config(family, tokenizer), dtype=torch.float32)
    settings = model.generation_config
    settings.do_sample = False
    settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    return model


def _processor(family: str, tokenizer: Any) -> Any:
    from ganglion.model.processor import image_only

    return image_only(PIXELS[family].kind)(image_processor(family), tokenizer, chat_template=tokenizer.chat_template)
