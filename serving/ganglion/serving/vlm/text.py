"""Tokens as they come -> pieces of text that never hold half a character, and end before a stop text."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class TextPieces:
    """The text of one answer, given out piece by piece.

    Args:
        decode: token ids -> text.
        stops: texts that end the answer, and are no part of it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, stops
        self._tokens: list[int] = []
        self._given = 0
        self.stopped = False

    def add(self, tokens: Sequence[int]) -> str:
        """What can be told after these tokens; maybe nothing yet."""
        self._tokens += tokens
        text = self._decode(self._tokens)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):  # the rest of a character is to come
            return ""
        return self._give(text, held=self._begun(text))

    def rest(self) -> str:
        """What was held back, at the end of the answer."""
        return self._give(self._decode(self._tokens), held=0)

    def _give(self, text: str, held: int) -> str:
        if self.stopped:
            return ""
        found = [at for at in (text.find(stop, self._given) for stop in self._stops) if at >= 0]
        end = min(found) if found else len(text) - held
        self.stopped = bool(found)
        piece = text[self._given : end]
        self._given = max(self._given, end)
        return piece

    def _begun(self, text: str) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        return max(
            (size for stop in self._stops for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0
        )
