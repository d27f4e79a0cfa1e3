"""Answers by a model: greedy, in batches, as it comes, with no constraint on the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from ganglion.core.tasks import Example
from ganglion.model.dialogue.batching import collate
from ganglion.model.dialogue.encoding import Encoded, encode, end_of_turn
from ganglion.model.dialogue.images import ImageEncoder


def write_answers(
    model: Any,
    processor: Any,
    examples: Sequence[Example],
    *,
    batch_size: int,
    max_new_tokens: int,
    label: str,
    known: Mapping[int, str] | None = None,
    keep: Callable[[Mapping[int, str]], None] | None = None,
) -> list[str]:
    """One text per example, in their order, without special tokens.

    Args:
        model: from load_vlm, with or without an adapter.
        processor: from load_processor.
        examples: their expected answers are not looked at.
        batch_size: rows per generation; rows of like prompt length go together.
        max_new_tokens: where an answer is cut off.
        label: what the progress bar says.
        known: answers by index that need not be written again. Batches are the same with and without them, and one that
            is known in part is written again as a whole, since an answer may depend on its batch by a rounding.
        keep: called with each batch of answers by index, as soon as it is written.
    """
    tokenizer = processor.tokenizer
    ends = sorted({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end_of_turn(tokenizer))} - {None})
    # Encoded batch by batch, since preprocessed images are large; prompt length in characters will do for the order.
    order = sorted(range(len(examples)), key=lambda index: _characters(examples[index]))
    texts = dict(known or {})
    read_image = ImageEncoder(processor) if processor.image_token else None
    with tqdm(total=len(examples), desc=label, unit="answer", disable=None) as bar:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            if not all(index in texts for index in indices):
                rows = [encode(processor, examples[index], read_image, with_answer=False) for index in indices]
                written = _generate(model, tokenizer, rows, max_new_tokens, ends)
                batch = dict(zip(indices, written, strict=True))
                texts |= batch
                if keep:
                    keep(batch)
            bar.update(len(indices))
    return [texts[index] for index in range(len(examples))]


def _characters(example: Example) -> int:
    return sum(len(turn.prompt) for turn in example.turns) + sum(len(turn.answer) for turn in example.history)


@torch.inference_mode()
def _generate(model: Any, tokenizer: Any, rows: list[Encoded], max_new_tokens: int, ends: list[int]) -> list[str]:
    batch = collate(rows, tokenizer.pad_token_id, side="left")
    del batch["labels"]
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    if "pixel_values" in batch:
        batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
    written = model.generate(
        **batch,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts: list[str] = tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts
