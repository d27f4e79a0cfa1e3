"""One answer in the making: what the decoder is to read next, and what its last logits make of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.serving.vlm.decoder import DecoderState
from ganglion.serving.vlm.grammar import Constraint
from ganglion.serving.vlm.question import Question

# Tokens that a constrained answer may take beyond max_new_tokens to come to a valid end.
CLOSING_TOKENS = 256
OnTokens = Callable[[Sequence[int]], None]


@dataclass(frozen=True)
class VlmAnswer:
    """What the model wrote.

    text        the answer, without its end token
    tokens      its token ids
    complete    it ended by itself; False where max_new_tokens cut it
    calls       decoder passes: the prompt's, and one for each token that was not forced
    timings_ms  preprocess, wait (for others), vision, prompt, decode, total
    """

    text: str
    tokens: tuple[int, ...]
    complete: bool
    calls: int
    timings_ms: Mapping[str, float]


@dataclass(frozen=True)
class Ending:
    """When an answer ends.

    limit     tokens, beyond which a constrained one only closes
    context   tokens of prompt and answer
    eos       tokens that end it
    deadline  of `time.perf_counter`, in seconds; after it the answer is given up
    """

    limit: int
    context: int
    eos: tuple[int, ...]
    deadline: float | None = None


class Answering:
    """One answer in the making. All but `result` and `prompt_tokens` is a scheduler's to call.

    result         the answer; cancelled, at any time, it is written no further
    prompt_tokens  that are read before it, those of images too

    Args:
        question: what is asked.
        state: a fresh one.
        constraint: what it is written within; None for free text.
        ending: when it ends.
        decode: token ids -> text.
        on_tokens: told of tokens as they come, on a thread of the scheduler's: it must not block.
        started: `time.perf_counter` before its images were preprocessed.
    """

    def __init__(
        self,
        question: Question,
        state: DecoderState,
        constraint: Constraint | None,
        ending: Ending,
        decode: Callable[[Sequence[int]], str],
        on_tokens: OnTokens | None,
        started: float,
    ) -> None:
        self.result: Future[VlmAnswer] = Future()
        self.state, self.ending = state, ending
        self.unread: list[int] = []
        self.over = False
        self._question: Question | None = question
        self.prompt_tokens: int = question.input_ids.shape[1]
        self._constraint, self._decode, self._on_tokens = constraint, decode, on_tokens
        # The last token is not read, so it needs no place in the context.
        most = ending.limit + (CLOSING_TOKENS if constraint else 0)
        self._room: int = min(most, ending.context + 1 - self.prompt_tokens)
        self._tokens: list[int] = []
        self._told = 0
        self._complete = self._cut = False
        self._marks = [started, time.perf_counter()]

    @property
    def most_tokens(self) -> int:
        """No more are ever read for it, prompt and answer together."""
        return self.prompt_tokens + self._room - 1

    @property
    def is_late(self) -> bool:
        """Its deadline has passed."""
        return self.ending.deadline is not None and time.perf_counter() > self.ending.deadline

    def read_prompt(self, vision: Any) -> None:
        """Read the prompt, the tower's features of its images and what is forced first; choose the first token."""
        question, self._question = self._question, None  # its pixels are not kept
        assert question is not None
        self._mark()
        features = None
        if question.pixel_values is not None:
            (features,) = vision.run(
                None, {"pixel_values": question.pixel_values, "image_grid_thw": question.image_grid_thw}
            )
        self._mark()
        ids, positions = question.input_ids, question.position_ids
        if self._constraint:
            # What must come first anyway is read along with the prompt.
            ahead = self._add(self._constraint.forced())[: self._room - 1]
            start = positions.max() + 1 + np.arange(len(ahead))
            ids = np.concatenate([ids, np.array([ahead], np.int64)], 1)
            positions = np.concatenate([positions, np.tile(start, (3, 1, 1))], 2)
        logits = self.state.read_prompt(ids, positions, features)
        self._mark()
        if self._cut:
            self._tell()
            self.over = True
        else:
            self.choose(logits)

    def choose(self, logits: npt.NDArray[np.float32]) -> None:
        """Go on by the logits (V,) after all that was read: more to read, or the answer is over."""
        self.unread = self._add(self._next(logits))
        self._tell()
        if self._constraint and self._constraint.complete:
            self._complete = True
        self.over = self._complete or len(self._tokens) >= self._room

    def answer(self) -> VlmAnswer:
        """The finished answer."""
        self._mark()
        names = ("preprocess", "wait", "vision", "prompt", "decode")
        spans = {name: (end - start) * 1e3 for name, (start, end) in zip(names, pairwise(self._marks), strict=True)}
        spans["total"] = sum(spans.values())
        tokens = tuple(self._tokens)
        complete = self._complete and not self._cut
        return VlmAnswer(self._decode(tokens), tokens, complete, self.state.calls, spans)

    def _next(self, logits: npt.NDArray[np.float32]) -> list[int]:
        """The next tokens; none at the end of the answer."""
        if self._constraint is None:
            token = int(logits.argmax())
            self._complete = token in self.ending.eos
            return [] if self._complete else [token]
        token = self._constraint.choose(logits, closing=len(self._tokens) >= self.ending.limit)
        if token in self.ending.eos:
            self._complete = True
            return []
        self._constraint.take([token])
        return [token, *self._constraint.forced()]

    def _add(self, tokens: list[int]) -> list[int]:
        """Write so many of these as there is room for; they are given back."""
        room = self._room - len(self._tokens)
        self._cut = len(tokens) > room
        self._tokens += tokens[:room]
        return tokens[:room]

    def _tell(self) -> None:
        if self._on_tokens and len(self._tokens) > self._told:
            self._on_tokens(self._tokens[self._told :])
            self._told = len(self._tokens)

    def _mark(self) -> None:
        self._marks.append(time.perf_counter())
