"""A request, read and checked, and how it is handed to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganglion.serving.vlm.answering import Answering, OnTokens
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm_request.messages import Dialogue


@dataclass(frozen=True)
class VlmRequest:
    """What is asked.

    dialogue        the messages
    schema          of the answer; None for free text
    stops           texts that end it
    max_new_tokens  of it
    stream          piece by piece
    """

    dialogue: Dialogue
    schema: Mapping[str, Any] | None
    stops: tuple[str, ...]
    max_new_tokens: int
    stream: bool

    def ask(self, engine: VlmEngine, on_tokens: OnTokens, deadline_s: float) -> Answering:
        """Hand it to the engine, see `VlmEngine.ask`.

        Raises:
            InputError: an image can't be decoded, the prompt is too long, or the schema has no grammar.
            Busy: too many requests wait.
        """
        turn = self.dialogue.turn
        return engine.ask(
            turn.images,
            turn.prompt,
            max_new_tokens=self.max_new_tokens,
            schema=self.schema,
            history=self.dialogue.history,
            system=self.dialogue.system,
            on_tokens=on_tokens,
            deadline_s=deadline_s,
        )
