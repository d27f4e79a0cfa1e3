"""Clocks in the parts of a served VLM, and words put into its mouth; for benchmarks/constrained_decoding.py."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ganglion.serving.vlm import grammar
from ganglion.serving.vlm.decoder import DecoderState
from ganglion.serving.vlm.grammar import Constraint


@dataclass
class Trace:
    """What the parts of one answer took.

    dictated  the tokens that the learned speaker says, None for the random one
    written   how many tokens of the answer the decoder has read
    """

    dictated: Sequence[int] | None = None
    written: int = 0
    grammar_ms: float = 0.0
    mask_ms: float = 0.0
    decoder_ms: float = 0.0
    chosen: int = 0


class Probe:
    """Puts clocks into the engine's own parts, and words into the model's mouth."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._inside = False
        for method in ("choose", "forced", "take"):
            setattr(Constraint, method, self._clocked(getattr(Constraint, method), "grammar_ms"))
        Constraint.choose = self._counted(Constraint.choose)  # type: ignore[method-assign]
        DecoderState.read = self._read(self._clocked(DecoderState.read, "decoder_ms"))  # type: ignore[method-assign]
        DecoderState.read_prompt = self._read_prompt(DecoderState.read_prompt)  # type: ignore[method-assign]
        grammar.fill_next_token_bitmask = self._masked(grammar.fill_next_token_bitmask)  # type: ignore[attr-defined]

    def _clocked(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Add the call's time to the trace; a call within another is part of that one."""

        @functools.wraps(call)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            self._inside, start = True, time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                setattr(self.trace, name, getattr(self.trace, name) + (time.perf_counter() - start) * 1e3)
                self._inside = False

        return clocked

    def _masked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def masked(*args: Any) -> None:
            start = time.perf_counter()
            call(*args)
            self.trace.mask_ms += (time.perf_counter() - start) * 1e3

        return masked

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> int:
            self.trace.chosen += 1
            return int(call(*args, **kwargs))

        return counted

    def _read(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def read(state: DecoderState, tokens: list[int]) -> Any:
            self.trace.written += len(tokens)
            return self._said(call(state, tokens))

        return read

    def _read_prompt(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: self._said(call(*args))

    def _said(self, logits: Any) -> Any:
        if self.trace.dictated is not None:
            logits[:] = 0
            logits[self.trace.dictated[self.trace.written]] = 1
        return logits
