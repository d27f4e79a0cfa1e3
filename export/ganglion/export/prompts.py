"""What stages are compared on: prompts as the library's processor makes them, fresh or of a task's data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganglion.core.tasks import Example
from ganglion.export.text_graph import image_token_id
from ganglion.model.dialogue.batching import collate
from ganglion.model.dialogue.encoding import encode
from ganglion.model.dialogue.images import ImageEncoder

_TEXTS = (
    'User feedback: "ouch". Previous assistance: 7%. Assess the terrain. Reply in JSON.',
    "What is shown here? Answer in one sentence.",
    "Move the tip forward slowly and stop at the first resistance.",
    "Which of the parts is closest, and how far away is it?",
)


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    inputs        what the library's processor made of it, B = 1
    position_ids  (3, 1, T)
    answer        tokens to go on with; None for those that the model finds likeliest
    """

    inputs: dict[str, Tensor]
    position_ids: Tensor
    answer: tuple[int, ...] | None = None


def make_prompts(model: Any, processor: Any, cases: Iterable[tuple[Sequence[Image.Image], str]]) -> list[Prompt]:
    """Images and text as the chat prompt that training and serving use; a language model is shown the text alone."""
    prompts = []
    for images, text in cases:
        shown = list(images) if processor.image_token else []
        content: Any = [*({"type": "image"} for _ in shown), {"type": "text", "text": text}] if shown else text
        chat = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        if processor.image_token:
            inputs = dict(processor(text=[chat], images=shown or None, return_tensors="pt"))
        else:
            inputs = dict(processor.tokenizer([chat], add_special_tokens=False, return_tensors="pt"))
        prompts.append(Prompt(inputs, position_ids(model, inputs)))
    return prompts


def task_prompts(model: Any, processor: Any, examples: Sequence[Example]) -> list[Prompt]:
    """A task's rows, each with the answer that is expected."""
    read_image = ImageEncoder(processor) if processor.image_token else None
    prompts = []
    for example in examples:
        asked = encode(processor, example, read_image, with_answer=False)
        whole = encode(processor, example, read_image, with_answer=True)
        batch = collate([asked], processor.tokenizer.pad_token_id, side="left")
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "mm_token_type_ids")}
        answer = tuple(int(token) for token in whole.text.ids[len(asked.text) :])
        prompts.append(Prompt(inputs, position_ids(model, inputs), answer))
    return prompts


def vl_feeds(prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
    """What vl_encoder.onnx takes for B robots, all shown pictures of the same sizes; instructions may differ in length.

    pixel_values (B, patches, patch values), image_grid_thw (B, images, 3), input_ids (B, T), position_ids (B, 3, T).
    """
    longest = max(prompt.inputs["input_ids"].shape[1] for prompt in prompts)
    rows = []
    for prompt in prompts:
        behind = longest - prompt.inputs["input_ids"].shape[1]
        rows.append(
            {
                "pixel_values": prompt.inputs["pixel_values"].numpy(),
                "image_grid_thw": prompt.inputs["image_grid_thw"].numpy(),
                "input_ids": np.pad(prompt.inputs["input_ids"].numpy()[0], (0, behind)),
                "position_ids": np.pad(prompt.position_ids.numpy()[:, 0], ((0, 0), (0, behind))),
            }
        )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def position_ids(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """The library's own position ids, (3, B, T); `model` may be a skeleton."""
    ids, token = inputs["input_ids"], image_token_id(model)
    if token is None:
        mask = inputs.get("attention_mask", torch.ones_like(ids))
        return (mask.cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
    positions: Tensor = model.model.get_rope_index(
        input_ids=ids,
        mm_token_type_ids=(ids == token).int(),
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs.get("attention_mask"),
    )[0]
    return positions


def fresh_cases(count: int, seed: int = 0) -> list[tuple[list[Image.Image], str]]:
    """Random smooth images of unequal sizes, each with a sentence."""
    random = np.random.default_rng(seed)
    cases = []
    for index in range(count):
        width, height = (int(side) for side in random.integers(64, 320, 2))
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        cases.append(([image], _TEXTS[index % len(_TEXTS)]))
    return cases
