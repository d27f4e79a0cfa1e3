"""What is sent back: a completion, or the chunks of one, in OpenAI's form."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Reply:
    """What all parts of one reply share."""

    model: str
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, text: str, finish_reason: str, usage: Mapping[str, int]) -> dict[str, Any]:
        """The whole answer."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage}

    def chunk(self, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        """A piece of a streamed one."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.include_usage else {}
        return event({**self._head("chat.completion.chunk"), "choices": [choice], **usage})

    def usage_chunk(self, usage: Mapping[str, int]) -> bytes:
        """The last piece, where it was asked for."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(prompt_tokens: int, answer_tokens: int) -> dict[str, int]:
    """Counts of tokens; those of images are in the prompt's, an end token in none."""
    total = prompt_tokens + answer_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": answer_tokens, "total_tokens": total}


def event(data: Mapping[str, Any]) -> bytes:
    """As one server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n\n"


def models(name: str, created: int) -> dict[str, Any]:
    """The one model there is."""
    one = {"id": name, "object": "model", "created": created, "owned_by": "ganglion"}
    return {"object": "list", "data": [one]}
