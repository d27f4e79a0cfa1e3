"""The rows that a run learns from: all measured before the first step, so that what does not fit is known then."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, LazyExamples
from ganglion.model.dialogue.encoding import Encoded, EncodedText, encode_text
from ganglion.model.dialogue.images import ImageEncoder

_SHOWN_ERRORS = 20


@dataclass(frozen=True)
class Truncation:
    """What a limit of length cut off: rows that lost the end of their answers, and the tokens lost."""

    rows: int = 0
    tokens: int = 0


class EncodedRows(torch.utils.data.Dataset[Encoded]):
    """Examples as tokens and images. Images are encoded when asked for and kept up to `memory_bytes`.

    Tokens are held in memory; of LazyExamples only how many there are, and a row is tokenized when it is asked for.
    """

    def __init__(
        self,
        processor: Any,
        examples: Sequence[Example],
        longest: int,
        *,
        truncate: bool = False,
        memory_bytes: int = 0,
    ) -> None:
        """Tokenize all rows.

        Args:
            processor: from ganglion.model.processor.load_processor.
            examples: the rows.
            longest: most tokens of a row.
            truncate: cut the end off answers that are too long, and count it, instead of refusing the row.
            memory_bytes: for images kept preprocessed.

        Raises:
            InputError: rows are too long (one line each, up to a limit), or can't be encoded.
        """
        self._processor, self._examples, self._longest = processor, examples, longest
        self._read_image = ImageEncoder(processor, memory_bytes) if processor.image_token else None
        self._texts: list[EncodedText] | None = None if isinstance(examples, LazyExamples) else []
        self._lengths = array("q")
        errors: list[str] = []
        count = rows_cut = tokens_cut = 0
        for index, example in enumerate(tqdm(examples, desc="measuring rows", unit="row", disable=None, leave=False)):
            whole = encode_text(processor, example, self._read_image, with_answer=True)
            text = _cut(whole, longest) if truncate else whole
            if text is None or len(text) > longest:
                count += 1
                errors += [_too_long(index, whole, longest, truncate)] if count <= _SHOWN_ERRORS else []
                continue
            self._lengths.append(len(text))
            if self._texts is not None:
                self._texts.append(text)
            if len(text) < len(whole):
                rows_cut, tokens_cut = rows_cut + 1, tokens_cut + len(whole) - len(text)
        if errors:
            rest = count - len(errors)
            raise InputError("\n".join([*errors, *([f"and {rest} more rows"] if rest > 0 else [])]))
        self.truncated = Truncation(rows_cut, tokens_cut)

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> Encoded:
        """The row at `index`, with its answers."""
        example = self._examples[index]
        if self._texts is None:
            # A row that was cut is cut again; one that fits is left as it is.
            text = _cut(encode_text(self._processor, example, self._read_image, with_answer=True), self._longest)
            assert text is not None
        else:
            text = self._texts[index]
        paths = [path for turn in example.turns for path in turn.images]
        return Encoded(text, tuple(self._read_image(path) for path in paths) if self._read_image else ())

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row."""
        return self._lengths


class PackedRows(torch.utils.data.Dataset[list[Encoded]]):
    """Text rows put together into packs of at most `longest` tokens: first fit, longest rows first, then shuffled."""

    def __init__(self, rows: EncodedRows, longest: int, seed: int) -> None:
        self._rows = rows
        self.packs = _first_fit(rows.lengths, longest)
        random.Random(seed).shuffle(self.packs)

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: int) -> list[Encoded]:
        """The rows of the pack at `index`."""
        return [self._rows[k] for k in self.packs[index]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pack."""
        lengths = self._rows.lengths
        return [sum(lengths[k] for k in pack) for pack in self.packs]


def _cut(text: EncodedText, longest: int) -> EncodedText | None:
    """The row with the end of its answers cut off; None where no answer token would be left, or an image be cut."""
    answers = tuple((start, min(end, longest)) for start, end in text.answers if start < longest)
    if not answers or text.token_types[longest:].any():
        return None
    return replace(text, ids=text.ids[:longest].clone(), answers=answers)


def _too_long(index: int, text: EncodedText, longest: int, truncate: bool) -> str:
    why = " and only answers may be cut" if truncate else ""
    images = int(text.token_types.sum())
    of_images = f" ({images} of images)" if images else ""
    remedy = (
        "raise --max_length"
        + (", lower --max_pixels" if images else "")
        + ("" if truncate else ", or --too_long truncate")
    )
    return f"row {index} has {len(text)} tokens{of_images}, at most {longest} fit{why}; {remedy}"


def _first_fit(lengths: Sequence[int], longest: int) -> list[list[int]]:
    packs: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        place = next((k for k, left in enumerate(room) if left >= lengths[index]), None)
        if place is None:
            packs.append([index])
            room.append(longest - lengths[index])
        else:
            packs[place].append(index)
            room[place] -= lengths[index]
    return packs
