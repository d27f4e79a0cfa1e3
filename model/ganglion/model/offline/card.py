"""The model card that lies in an offline base's folder."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from ganglion.model.offline.drawings import draw
from ganglion.model.offline.lessons import lesson

_CARD = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
license: apache-2.0
tags: [stand-in, tiny]
---

# Offline base ({family})

A stand-in for a pretrained vision-language model, made on this machine by `ganglion.model.offline`. It lets the whole
pipeline run with no network and no GPU, through the code that a hub checkpoint takes. It is not useful for anything
else: it can't chat and knows nothing of the world.

- architecture: `{architecture}`, {parameters:.1f} million parameters, images of {side} x {side} pixels
- made with: torch {torch}, transformers {transformers}
- license: Apache-2.0, as the project it comes from

## Training

{training}

The tokenizer is a byte-level BPE of {vocabulary} tokens, trained on random sequences of everyday English words, on
these exercises and on the words of the chat template.

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

_PRETEXT = """\
{drawings} random drawings, {see_steps} steps of measuring them (the region of every spot, and positions, widths and
spacings), then {say_steps} steps of answering questions about them and small exercises, {batch} at a time. For example:

{examples}"""
_RANDOM = "None: the weights are random. It serves tests."


def model_card(family: str, model: Any, side: int, pretext: Any | None) -> str:
    """The card as Markdown; `pretext` is the recipe that was used, None where the weights are random."""
    training = _RANDOM
    if pretext is not None:
        shown = [lesson(draw(pretext.seed, k), k) for k in range(4)]
        examples = "\n".join(f"    {one.prompt}\n    -> {one.answer}" for one in shown)
        training = _PRETEXT.format(
            drawings=pretext.drawings,
            see_steps=pretext.see_steps,
            say_steps=pretext.say_steps,
            batch=pretext.batch,
            examples=examples,
        )
    return _CARD.format(
        family=family,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        side=side,
        torch=version("torch"),
        transformers=version("transformers"),
        training=training,
        vocabulary=len(model.get_input_embeddings().weight),
    )
