"""The instruction VLM of a bundle: images and a prompt in, text or schema-valid JSON out.

    engine = VlmEngine.open(open_bundle(path))
    answer = engine.generate([jpeg], "Assess the terrain.", schema=task.schema, max_new_tokens=task.max_new_tokens)
    earlier = [Exchange((jpeg,), "Assess the terrain.", answer.text)]
    answer = engine.generate([], "And now?", history=earlier, max_new_tokens=60)

One engine serves any number of threads: everything that belongs to one answer lives in the call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError, InputError
from ganglion.core.images import ImageLike
from ganglion.core.manifest import VlmPart
from ganglion.serving.vlm.chat import Said
from ganglion.serving.vlm.decoder import Decoder, DecoderState
from ganglion.serving.vlm.grammar import GrammarCompiler
from ganglion.serving.vlm.preprocess import ImagePreprocessor
from ganglion.serving.vlm.prompt import PromptEncoder
from ganglion.serving.vlm.session import CPU, open_session

# Tokens that a constrained answer may take beyond max_new_tokens to come to a valid end.
_CLOSING_TOKENS = 256


@dataclass(frozen=True)
class VlmAnswer:
    """What the model wrote.

    text        the answer, without its end token
    tokens      its token ids
    complete    it ended by itself; False where max_new_tokens cut it
    calls       decoder passes: the prompt's, and one for each token that was not forced
    timings_ms  preprocess, vision, prompt, decode, total
    """

    text: str
    tokens: tuple[int, ...]
    complete: bool
    calls: int
    timings_ms: Mapping[str, float]


class EarlierTurn(Protocol):
    """An exchange that came before: a `core.tasks.Turn`, an `Exchange` of `ExoDialogue`, or anything like them."""

    @property
    def images(self) -> Sequence[ImageLike]:
        """Shown before the text, in order."""

    @property
    def prompt(self) -> str:
        """The user's turn, without placeholders."""

    @property
    def answer(self) -> str:
        """What was answered, as it was written."""


class VlmEngine:
    """Sessions, tokenizer and grammars of one bundle. Make it with `VlmEngine.open`."""

    def __init__(self, part: VlmPart, vision: Any, decoder: Decoder, prompts: PromptEncoder) -> None:
        self.part = part
        self._vision, self._decoder, self._prompts = vision, decoder, prompts
        self._preprocess = ImagePreprocessor.from_manifest(part.image_processor) if vision else None
        self._grammars = GrammarCompiler(prompts.tokenizer, decoder.vocabulary, part.eos_token_ids)

    @classmethod
    def open(cls, bundle: Bundle, *, threads: int = 1, providers: Sequence[str] = (CPU,)) -> VlmEngine:
        """Load the VLM of a verified bundle.

        Raises:
            BundleError: the bundle holds no VLM, or a file can't be loaded.
            GanglionError: ONNX Runtime fell back from the provider asked for.
        """
        part = bundle.manifest.vlm
        if part is None:
            raise BundleError("holds no VLM", where=bundle.root, remedy="export one with --adapter")
        if part.form != "onnx":
            raise BundleError(f"holds a VLM as {part.form}, for vLLM", where=bundle.root, remedy="use --target onnx")

        def session(name: str) -> Any:
            return open_session(bundle.path(f"vlm/{name}.onnx"), threads=threads, providers=providers)

        vision = session("vision") if part.image_token_id is not None else None
        prompts = PromptEncoder(bundle.path("vlm"), part.image_token_id, int(part.image_processor.get("merge_size", 1)))
        return cls(part, vision, Decoder(session("embed"), session("decoder")), prompts)

    def generate(
        self,
        images: Sequence[ImageLike],
        prompt: str,
        *,
        max_new_tokens: int,
        schema: Mapping[str, Any] | None = None,
        history: Sequence[EarlierTurn] = (),
    ) -> VlmAnswer:
        """Answer greedily.

        Args:
            images: shown before the text, in order; may be empty.
            prompt: the user's turn, without placeholders.
            max_new_tokens: at most so many, plus what a constrained answer needs to end validly.
            schema: JSON schema the answer must satisfy; None for free text. Numbers that are no integers need bounds in
                it: without, one may come out that is too large for a float.
            history: the turns of the dialogue before this one, first one first; their images are read again.

        Raises:
            InputError: an image can't be decoded, the prompt is too long, or the schema has no grammar.
        """
        run = _Run(self, schema, max_new_tokens)
        for _ in run.tokens(images, prompt, history):
            pass
        return run.answer()

    def stream(
        self,
        images: Sequence[ImageLike],
        prompt: str,
        *,
        max_new_tokens: int,
        schema: Mapping[str, Any] | None = None,
        history: Sequence[EarlierTurn] = (),
    ) -> Iterator[str]:
        """As `generate`, but give the text piece by piece as it is written."""
        run, given = _Run(self, schema, max_new_tokens), 0
        for _ in run.tokens(images, prompt, history):
            text = run.text()
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                yield text[given:]
                given = len(text)
        if rest := run.text()[given:]:
            yield rest


class _Run:
    """One answer in the making."""

    def __init__(self, engine: VlmEngine, schema: Mapping[str, Any] | None, max_new_tokens: int) -> None:
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}", remedy="give at least 1")
        self._engine, self._limit = engine, max_new_tokens
        self._constraint = engine._grammars.start(schema) if schema is not None else None
        self._state = DecoderState(engine._decoder)
        self._tokens: list[int] = []
        self._complete = False
        self._marks = [time.perf_counter()]

    def tokens(
        self, images: Sequence[ImageLike], prompt: str, history: Sequence[EarlierTurn] = ()
    ) -> Iterator[list[int]]:
        """Read the prompt, then give tokens as they come: one that was chosen, or some that were forced."""
        logits = self._read_prompt(images, prompt, history)
        while True:
            step = self._next(logits)
            if step:
                self._tokens += step
                yield step
            if not step or self._over():
                break
            logits = self._state.read(step)
        self._mark()

    def text(self) -> str:
        """The text so far."""
        return str(self._engine._prompts.tokenizer.decode(self._tokens, skip_special_tokens=True))

    def answer(self) -> VlmAnswer:
        """The finished answer."""
        names = ("preprocess", "vision", "prompt", "decode")
        spans = {name: (end - start) * 1e3 for name, (start, end) in zip(names, pairwise(self._marks), strict=True)}
        spans["total"] = sum(spans.values())
        return VlmAnswer(self.text(), tuple(self._tokens), self._complete, self._state.calls, spans)

    def _read_prompt(
        self, images: Sequence[ImageLike], prompt: str, history: Sequence[EarlierTurn]
    ) -> npt.NDArray[np.float32]:
        engine = self._engine
        said = [Said(len(turn.images), turn.prompt, turn.answer) for turn in history]
        images = [*(image for turn in history for image in turn.images), *images]
        features, grid = None, np.zeros((0, 3), np.int64)
        if images:
            if engine._preprocess is None:
                raise InputError("this model sees no images", remedy="ask without, or serve a vision-language model")
            pixel_values, grid = engine._preprocess(images)
        ids, positions = engine._prompts.encode(prompt, grid, said)
        room = engine.part.context_tokens - ids.shape[1]
        if room < 1:
            raise InputError(
                f"the prompt takes {ids.shape[1]} tokens, the model reads at most {engine.part.context_tokens}",
                remedy="shorten it, or show fewer or smaller images",
            )
        self._mark()
        if images:
            (features,) = engine._vision.run(None, {"pixel_values": pixel_values, "image_grid_thw": grid})
        self._mark()
        if self._constraint:
            # What must come first anyway is read along with the prompt.
            self._tokens += self._constraint.forced()
            start = positions.max() + 1 + np.arange(len(self._tokens))
            ids = np.concatenate([ids, np.array([self._tokens], np.int64)], 1)
            positions = np.concatenate([positions, np.tile(start, (3, 1, 1))], 2)
        logits = self._state.read_prompt(ids, positions, features)
        self._mark()
        return logits

    def _next(self, logits: npt.NDArray[np.float32]) -> list[int]:
        """The next tokens; none at the end of the answer."""
        if self._constraint is None:
            token = int(logits.argmax())
            self._complete = token in self._engine.part.eos_token_ids
            return [] if self._complete else [token]
        token = self._constraint.choose(logits, closing=len(self._tokens) >= self._limit)
        if token in self._engine.part.eos_token_ids:
            self._complete = True
            return []
        self._constraint.take([token])
        return [token, *self._constraint.forced()]

    def _over(self) -> bool:
        limit = self._limit + (_CLOSING_TOKENS if self._constraint else 0)
        if self._constraint and self._constraint.complete:
            self._complete = True
        return self._complete or len(self._tokens) >= limit or self._state.length >= self._engine.part.context_tokens

    def _mark(self) -> None:
        self._marks.append(time.perf_counter())
