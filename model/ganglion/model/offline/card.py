"""The model card that lies in an offline base's folder."""

from __future__ import annotations

import textwrap
from importlib.metadata import version
from typing import Any

from ganglion.model.offline.commands import command
from ganglion.model.offline.drawings import draw
from ganglion.model.offline.families import PIXELS
from ganglion.model.offline.icons import ICONS
from ganglion.model.offline.lessons import lesson
from ganglion.model.offline.pretext import RECIPE
from ganglion.model.offline.sheet_lessons import sheet_lesson
from ganglion.model.offline.sheet_pretext import SHEET_RECIPE
from ganglion.model.offline.sheets import sheet
from ganglion.model.offline.signs import LETTERS
from ganglion.model.offline.text_pretext import TEXT_RECIPE

_CARD = """\
---
library_name: transformers
pipeline_tag: {pipeline}
license: apache-2.0
tags: [stand-in, tiny]
---

# Offline base ({family})

A stand-in for a pretrained {kind}, made on this machine by `ganglion.model.offline`. It lets the whole
pipeline run with no network and no GPU, through the code that a hub checkpoint takes. It is not useful for anything
else: it can't chat and knows nothing of the world.

- architecture: `{architecture}`, {parameters:.1f} million parameters{input}
- made with: torch {torch}, transformers {transformers}
- license: Apache-2.0, as the project it comes from

## Training

{training}

The tokenizer is a byte-level BPE of {vocabulary} tokens, trained on random sequences of everyday English words, on
these exercises and on the words of the chat template.

"""
_RANDOM = "None: the weights are random. It serves tests."

_IMAGES_SHARED = """\
## What it shares with the tasks of this project

- The form: Qwen's chat template, one image, an answer that is one flat JSON object.
- Geometry that ground ahead of a walker has too: a strip that narrows toward a dividing line and ends below, at or
  above it, pointed or blunt, plain, lined or barred, with wings and cords beside it; mostly a light upper part, a dark
  lower part and a middling strip. It is drawn flat, with random trapezoids: there is no camera model and no
  three-dimensional scene.
- Repeating the first or last word of a quoted phrase from the prompt, comparing two numbers of 0 to 20, and adding to
  one without leaving these bounds.

## What it does not hold

- No image, prompt or answer of a task, none of the tasks' keys or category names, and no rule that leads to an answer.
  Untuned, it answers none of them.
- No names of things: its answers speak of strips, marks, stripes, rows and counters.

Trained on synthetic drawings only, it says nothing about how a real checkpoint does on real photographs.
"""
_TEXT_SHARED = """\
## What it shares with the tasks of this project

- The form: Qwen's chat template, `Command:` and `Code:`, and an answer that is a small program: calls with named
  arguments, one after another, repeated in a `for`, or chosen by `if` and `else`.
- Copying words and numbers from the command into the program, and small numbers that are written as words.

## What it does not hold

- No function of a robot and no sentence of a task: the words of a command are drawn at random, a third of them are
  none of any language, and a function's name is always spelled out by the command. Everyday words that commands to a
  robot have too stand for anything here. Untuned, it answers none of the tasks.
- No units, no conversions, and no meaning: that two sentences ask for one thing is for a fine-tune to learn.

It says nothing about how a real checkpoint does.
"""

_SHEETS_SHARED = """\
## What it shares with the tasks of this project

- The form: Qwen's chat template, one image, an answer in JSON, places in thousandths of width and height.
- Grids of signs, on two colors by turns or not, whose rows are numbered from either end and read from either side: a
  light sign is written as a capital, a dark one as a small letter, an empty cell as a point, with spaces between.
- Icons strewn over a page, the {icons} that stand before the words of synthetic screens, by their names: where one is,
  which one is outermost on a side, which one of a numbered list is there.

## What it does not hold

- No piece of a game, no window, no goal, no step and no memory of one. Untuned, it answers none of the tasks.
- It can tell {letters} capitals apart, and it cannot read words.

Trained on synthetic drawings only, it says nothing about how a real checkpoint does on real photographs.
"""

_PRETEXT = """\
{drawings} random drawings, {see_steps} steps of measuring them (the region of every spot, and positions, widths and
spacings), then {say_steps} steps of answering questions about them and small exercises, {batch} at a time. For example:

{examples}"""
_SHEETS_PRETEXT = """\
{recipe.sheets} sheets, grids and pages with icons. The vision tower learns in {recipe.seeing.steps} steps to name the
signs and to write codes of sign and place; the text part learns to answer from such codes about sheets that are never
drawn, in {recipe.reading.page_steps} steps about pages and in {recipe.reading.spread_steps} about pages, grids and text
alone; joined, they answer all that for {recipe.joining.steps} steps, {recipe.joining.batch} at a time. For example:

{examples}"""
_TEXT_PRETEXT = """\
{steps} steps of turning made-up commands into the programs that they spell out, {batch} at a time, each a new one.
For example:

{examples}"""


def model_card(family: str, model: Any, *, pretext: bool) -> str:
    """The card of a base that takes images, as Markdown; `pretext`: whether it had its training."""
    training = _RANDOM
    if pretext:
        taught = [lesson(draw(RECIPE.seed, k), k) for k in range(4)]
        examples = _indented("\n".join(f"{one.prompt}\n-> {one.answer}" for one in taught))
        training = _PRETEXT.format(**vars(RECIPE), examples=examples)
    side = PIXELS[family].side
    takes = f", images of {side} x {side} pixels"
    filled = _filled(family, model, training, pipeline="image-text-to-text", kind="vision-language model", input=takes)
    return filled + _IMAGES_SHARED


def sheet_model_card(family: str, model: Any, *, pretext: bool) -> str:
    """The card of the finer base, as Markdown; `pretext`: whether it had its training."""
    training = _RANDOM
    if pretext:
        taught = [sheet_lesson(sheet(SHEET_RECIPE.seed, k).shown, k) for k in range(4)]
        examples = _indented("\n".join(f"{one.prompt}\n-> {one.answer}" for one in taught))
        training = _SHEETS_PRETEXT.format(recipe=SHEET_RECIPE, examples=examples)
    side = PIXELS[family].side
    takes = f", images of up to {side} x {side} pixels"
    filled = _filled(family, model, training, pipeline="image-text-to-text", kind="vision-language model", input=takes)
    return filled + _SHEETS_SHARED.format(icons=len(ICONS), letters=len(LETTERS))


def text_model_card(family: str, model: Any, *, pretext: bool) -> str:
    """The card of a language model, as Markdown; `pretext`: whether it had its training."""
    training = _RANDOM
    if pretext:
        taught = [command(f"card {k}") for k in range(4)]
        examples = _indented("\n\n".join(f"{one.prompt}\n{one.answer}" for one in taught))
        training = _TEXT_PRETEXT.format(**vars(TEXT_RECIPE), examples=examples)
    filled = _filled(family, model, training, pipeline="text-generation", kind="language model", input=", text only")
    return filled + _TEXT_SHARED


def _indented(text: str) -> str:
    """As Markdown's code."""
    return textwrap.indent(text, "    ")


def _filled(family: str, model: Any, training: str, **said: str) -> str:
    return _CARD.format(
        family=family,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        torch=version("torch"),
        transformers=version("transformers"),
        training=training,
        vocabulary=len(model.get_input_embeddings().weight),
        **said,
    )
