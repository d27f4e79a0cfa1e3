"""How far each stage of a VLM is from the one before it, measured on fresh inputs.

trained (4-bit base + adapter) -> merged (float32) -> onnx
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganglion.core.images import upright
from ganglion.core.manifest import ParityRow
from ganglion.core.tasks import Example
from ganglion.export.onnx_runner import OnnxVlm

GREEDY_TOKENS = 32
_TEXTS = (
    'User feedback: "ouch". Previous assistance: 7%. Assess the terrain. Reply in JSON.',
    "What is shown here? Answer in one sentence.",
    "Move the tip forward slowly and stop at the first resistance.",
    "Which of the parts is closest, and how far away is it?",
)


@dataclass(frozen=True)
class Prompt:
    """What the library's processor made of one prompt, and its (3, 1, T) position ids."""

    inputs: dict[str, Tensor]
    position_ids: Tensor


def make_prompts(model: Any, processor: Any, cases: Iterable[tuple[Sequence[Image.Image], str]]) -> list[Prompt]:
    """Images and text as the chat prompt that training and serving use."""
    prompts = []
    for images, text in cases:
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
        chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = dict(processor(text=[chat], images=list(images) or None, return_tensors="pt"))
        prompts.append(Prompt(inputs, position_ids(model, inputs)))
    return prompts


def position_ids(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The library's own (3, B, T) position ids."""
    ids = inputs["input_ids"]
    kinds = (ids == model.config.image_token_id).int()
    positions: Tensor = model.model.get_rope_index(
        input_ids=ids,
        mm_token_type_ids=kinds,
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


def example_cases(examples: Sequence[Example], count: int) -> list[tuple[list[Image.Image], str]]:
    """The first rows of a task's data file as cases."""
    return [([upright(Image.open(path)) for path in e.images], e.prompt) for e in examples[:count]]


def greedy_logits(model: Any, prompt: Prompt, steps: int) -> Iterator[Tensor]:
    """Logits of the whole prompt (1, T, V), then of `steps` greedy steps (1, 1, V); an end token does not end it."""
    positions = prompt.position_ids
    inputs: dict[str, Any] = {**prompt.inputs, "position_ids": positions, "use_cache": True}
    inputs.pop("attention_mask", None)
    for step in range(steps + 1):
        with torch.no_grad():
            output = model(**inputs)
        yield output.logits.float()
        if step < steps:
            positions = positions.amax((0, 2), keepdim=True).expand(3, -1, -1) + 1
            inputs = {
                "input_ids": output.logits[:, -1:].argmax(-1),
                "position_ids": positions,
                "past_key_values": output.past_key_values,
                "use_cache": True,
            }


def prompt_logits(model: Any, prompts: Sequence[Prompt]) -> list[Tensor]:
    """Logits of each whole prompt, (1, T, V)."""
    return [next(greedy_logits(model, prompt, 0)) for prompt in prompts]


def merge_parity(trained: Sequence[Tensor], merged: Sequence[Tensor]) -> ParityRow:
    """The row for merged against trained, from `prompt_logits` of both."""
    pairs = list(zip(trained, merged, strict=True))
    agreed = torch.cat([(a.argmax(-1) == b.argmax(-1)).flatten() for a, b in pairs]).float().mean()
    return ParityRow(
        part="vlm",
        stage="merged",
        against="trained",
        samples=len(pairs),
        max_abs=max(float((a - b).abs().max()) for a, b in pairs),
        metrics={"argmax_agreement": float(agreed)},
    )


def onnx_parity(model: Any, folder: Path, prompts: Sequence[Prompt], steps: int = GREEDY_TOKENS) -> ParityRow:
    """The row for the ONNX files in `folder` against the torch model: prompts and greedy steps.

    Logits of steps count as long as both have chosen the same tokens so far.
    """
    onnx = OnnxVlm(folder)
    largest, all_equal = 0.0, True
    for prompt in prompts:
        inputs = {name: value.numpy() for name, value in prompt.inputs.items()}
        ours = onnx.logits(inputs, prompt.position_ids.numpy(), steps)
        for theirs, found in zip(greedy_logits(model, prompt, steps), ours, strict=True):
            largest = max(largest, float((theirs - torch.from_numpy(found)).abs().max()))
            if theirs[0, -1].argmax() != found[0, -1].argmax():
                all_equal = False
                break
    return ParityRow(
        part="vlm",
        stage="onnx",
        against="merged",
        samples=len(prompts),
        max_abs=largest,
        metrics={"greedy_equal": all_equal, "greedy_tokens": float(steps)},
    )
