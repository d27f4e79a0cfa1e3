"""The instruction VLM of a bundle: images and a prompt in, text or schema-valid JSON out.

    engine = VlmEngine.open(open_bundle(path))
    answer = engine.generate([jpeg], "Assess the terrain.", schema=task.schema, max_new_tokens=task.max_new_tokens)
    earlier = [Exchange((jpeg,), "Assess the terrain.", answer.text)]
    answer = engine.generate([], "And now?", history=earlier, max_new_tokens=60)

One engine serves any number of threads; what they ask is answered together, token by token (scheduler.py). Greedy: the
same question has the same answer. Beside others, logits differ by the rounding of a sum in another order (joined.py);
alone, and of a quantized decoder unless `limits.join_quantized`, by nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from ganglion.core.bundle import Bundle
from ganglion.core.chat_request import EarlierTurn
from ganglion.core.errors import BundleError, InputError
from ganglion.core.images import ImageLike
from ganglion.core.manifest import VlmPart
from ganglion.serving.vlm.answering import Answering, Ending, OnTokens, VlmAnswer
from ganglion.serving.vlm.decoder import Decoder, DecoderState
from ganglion.serving.vlm.grammar import GrammarCompiler
from ganglion.serving.vlm.limits import KvBudget, ServingLimits
from ganglion.serving.vlm.preprocess import ImagePreprocessor
from ganglion.serving.vlm.prompt import PromptEncoder
from ganglion.serving.vlm.question import QuestionReader
from ganglion.serving.vlm.scheduler import Load, Scheduler
from ganglion.serving.vlm.session import CPU, open_session
from ganglion.serving.vlm.text import TextPieces

_DEFAULT_LIMITS = ServingLimits()
_SIDE = 64  # of the picture that warms up, in pixels


class VlmEngine:
    """Sessions, tokenizer and grammars of one bundle. Make it with `VlmEngine.open`."""

    def __init__(
        self,
        part: VlmPart,
        vision: Any,
        decoder: Decoder,
        prompts: PromptEncoder,
        limits: ServingLimits,
        kv_bytes: int,
        threads: int,
    ) -> None:
        self.part = part
        self._decoder, self._prompts = decoder, prompts
        preprocess = ImagePreprocessor.from_manifest(part.image_processor) if vision else None
        self._questions = QuestionReader(preprocess, prompts, part.context_tokens)
        self._grammars = GrammarCompiler(prompts.tokenizer, decoder.vocabulary, part.eos_token_ids)
        joins = limits.join_quantized or part.precision["language"] == "float32"
        at_once = max(1, len(os.sched_getaffinity(0)) // threads)
        self._scheduler = Scheduler(vision, limits, KvBudget(kv_bytes, decoder.token_bytes), joins, at_once)

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        threads: int = 1,
        providers: Sequence[str] = (CPU,),
        limits: ServingLimits = _DEFAULT_LIMITS,
    ) -> VlmEngine:
        """Load the VLM of a verified bundle.

        Raises:
            BundleError: the bundle holds no VLM, or a file can't be loaded.
            GanglionError: ONNX Runtime fell back from the provider asked for.
        """
        part = onnx_part(bundle)

        def session(name: str) -> Any:
            return open_session(bundle.path(f"vlm/{name}.onnx"), threads=threads, providers=providers)

        vision = session("vision") if part.image_token_id is not None else None
        prompts = PromptEncoder(bundle.path("vlm"), part.image_token_id, int(part.image_processor.get("merge_size", 1)))
        decoder = Decoder(session("embed"), session("decoder"))
        weights = sum(file.stat().st_size for file in bundle.path("vlm").glob("decoder.onnx*"))
        default = max(weights, KvBudget(0, decoder.token_bytes).needs([part.context_tokens]))
        return cls(part, vision, decoder, prompts, limits, limits.kv_bytes or default, threads)

    @property
    def load(self) -> Load:
        """How many answers run and wait, and what memory they hold."""
        return self._scheduler.load

    def warm_up(self) -> None:
        """Write a first answer, to a picture where the model sees any: it is slower than those after it."""
        images = [] if self.part.image_token_id is None else [np.zeros((_SIDE, _SIDE, 3), np.uint8)]
        self.generate(images, "Warm up.", max_new_tokens=2)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        return str(self._prompts.tokenizer.decode(list(tokens), skip_special_tokens=True))

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
            InputError: an image can't be decoded, the prompt is too long, the schema has no grammar, or prompt and
                answer need more memory than there is.
            Busy: too many requests wait.
        """
        result = self.ask(images, prompt, max_new_tokens=max_new_tokens, schema=schema, history=history).result
        try:
            return result.result()
        finally:
            result.cancel()  # where the caller was interrupted

    def stream(
        self,
        images: Sequence[ImageLike],
        prompt: str,
        *,
        max_new_tokens: int,
        schema: Mapping[str, Any] | None = None,
        history: Sequence[EarlierTurn] = (),
    ) -> Iterator[str]:
        """As `generate`, but give the text piece by piece as it is written. Closed, it writes no more."""
        steps: SimpleQueue[Sequence[int]] = SimpleQueue()
        result = self.ask(
            images, prompt, max_new_tokens=max_new_tokens, schema=schema, history=history, on_tokens=steps.put
        ).result
        result.add_done_callback(lambda _: steps.put(()))
        pieces = TextPieces(self.decode)
        try:
            while tokens := steps.get():
                if piece := pieces.add(tokens):
                    yield piece
            result.result()
            if rest := pieces.rest():
                yield rest
        finally:
            result.cancel()

    def ask(
        self,
        images: Sequence[ImageLike],
        prompt: str,
        *,
        max_new_tokens: int,
        schema: Mapping[str, Any] | None = None,
        history: Sequence[EarlierTurn] = (),
        system: str = "",
        on_tokens: OnTokens | None = None,
        deadline_s: float | None = None,
    ) -> Answering:
        """As `generate`, but don't wait for the answer: it comes as `result`, which may be cancelled at any time.

        Args:
            images: see `generate`; they are preprocessed before this returns.
            prompt: see `generate`.
            max_new_tokens: see `generate`.
            schema: see `generate`; its grammar is made before this returns.
            history: see `generate`.
            system: what goes before the dialogue; empty for what the chat template puts there by itself.
            on_tokens: told of the answer's tokens as they come, on another thread; it must not block.
            deadline_s: seconds from now, after which the answer is given up with `TooLate`.

        Raises:
            InputError: see `generate`.
            Busy: too many requests wait.
        """
        started = time.perf_counter()
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}", remedy="give at least 1")
        constraint = self._grammars.start(schema) if schema is not None else None
        question = self._questions.read(images, prompt, history, system)
        deadline = None if deadline_s is None else started + deadline_s
        ending = Ending(max_new_tokens, self.part.context_tokens, self.part.eos_token_ids, deadline)
        state = DecoderState(self._decoder)
        answering = Answering(question, state, constraint, ending, self.decode, on_tokens, started)
        self._scheduler.submit(answering)
        return answering


def onnx_part(bundle: Bundle) -> VlmPart:
    """What a bundle says of the VLM that an engine can open.

    Raises:
        BundleError: it holds none, or one in another form.
    """
    part = bundle.manifest.vlm
    if part is None:
        raise BundleError("holds no VLM", where=bundle.root, remedy="export one with --adapter")
    if part.form != "onnx":
        raise BundleError(f"holds a VLM as {part.form}, for vLLM", where=bundle.root, remedy="use --target onnx")
    return part
