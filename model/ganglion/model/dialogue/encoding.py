"""From an Example to token ids: the checkpoint's own chat template around every turn's prompt, then its answer.

What is learned from is known by construction: prompt and answer are tokenized apart, and only answers are labeled, all
those of a dialogue. The same encoding without the last answer is what evaluation generates from, so both see the same
prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, Turn
from ganglion.model.dialogue.images import EncodedImage, ImageEncoder

_END_OF_TURN = "<|im_end|>"
UNLABELED = -100


@dataclass(frozen=True)
class EncodedText:
    """The tokens of one row.

    ids          (T,) int32, image placeholders expanded
    answers      (start, end) of each answer in it, the end of turn included; empty where there is nothing to learn
    image_token  id of a placeholder; None for a model that sees no images
    """

    ids: torch.Tensor
    answers: tuple[tuple[int, int], ...]
    image_token: int | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> torch.Tensor:
        """(T,) int64: answer tokens, UNLABELED elsewhere."""
        labels = torch.full((len(self.ids),), UNLABELED)
        for start, end in self.answers:
            labels[start:end] = self.ids[start:end]
        return labels

    @property
    def token_types(self) -> torch.Tensor:
        """(T,) int64: 1 on image tokens; Qwen-VL models build their 3-D positions from it."""
        return (self.ids == (-1 if self.image_token is None else self.image_token)).long()


@dataclass(frozen=True)
class Encoded:
    """One row: its tokens, and its images in the order of their placeholders."""

    text: EncodedText
    images: tuple[EncodedImage, ...] = ()


def encode(processor: Any, example: Example, read_image: ImageEncoder | None, *, with_answer: bool) -> Encoded:
    """Encode one example.

    Args:
        processor: from ganglion.model.processor.load_processor.
        example: its images are read from disk by `read_image`.
        read_image: an encoder with the same processor; None for a model that sees no images.
        with_answer: append the expected answer of the last turn, to learn from.

    Raises:
        InputError: as `encode_text`.
    """
    text = encode_text(processor, example, read_image, with_answer=with_answer)
    paths = [path for turn in example.turns for path in turn.images]
    return Encoded(text, tuple(read_image(path) for path in paths) if read_image else ())


def encode_text(processor: Any, example: Example, read_image: ImageEncoder | None, *, with_answer: bool) -> EncodedText:
    """The tokens of one example; of its images only the sizes are read.

    Raises:
        InputError: the text holds a placeholder for images, the model sees no images, or its chat template writes
            earlier turns in another way than the last one, so that a dialogue can't be learned from.
    """
    ids: list[int] = []
    answers: list[tuple[int, int]] = []
    placeholder = processor.image_token
    sizes = iter([read_image.tokens(path) for turn in example.turns for path in turn.images] if read_image else [])
    for segment, is_answer in _segments(processor, example, with_answer):
        head, *rest = segment.split(placeholder) if placeholder else [segment]
        text = head + "".join(placeholder * next(sizes) + part for part in rest)
        start = len(ids)
        ids += processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        if is_answer:
            answers.append((start, len(ids)))
    image_token = processor.image_token_id if placeholder else None
    return EncodedText(torch.tensor(ids, dtype=torch.int32), tuple(answers), image_token)


def end_of_turn(tokenizer: Any) -> str:
    """What a model writes after its answer: ChatML's mark where the tokenizer has it, else its end of sequence."""
    return _END_OF_TURN if _END_OF_TURN in tokenizer.get_vocab() else str(tokenizer.eos_token)


def _segments(processor: Any, example: Example, with_answer: bool) -> Iterator[tuple[str, bool]]:
    """The whole text in pieces; True for an answer."""
    end, written, messages = end_of_turn(processor.tokenizer), "", []
    for turn in example.turns:
        _check_turn(processor, turn)
        messages.append({"role": "user", "content": _content(turn)})
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        if not text.startswith(written):
            raise InputError(
                "this model's chat template rewrites earlier turns", remedy="use rows of one turn, or another model"
            )
        yield text[len(written) :], False
        if turn is example and not with_answer:
            return
        yield turn.answer + end, True
        written = text + turn.answer + end
        messages.append({"role": "assistant", "content": turn.answer})


def _content(turn: Turn) -> Any:
    if not turn.images:
        return turn.prompt
    return [*({"type": "image"} for _ in turn.images), {"type": "text", "text": turn.prompt}]


def _check_turn(processor: Any, turn: Turn) -> None:
    placeholder = processor.image_token
    if placeholder and placeholder in turn.prompt + turn.answer:
        raise InputError(f"a row holds {placeholder}", remedy="take it out of the data")
    if turn.images and not placeholder:
        raise InputError("this model sees no images, but rows have some", remedy="use a vision-language model")
