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
        # Whole characters, decoded already, and tokens after them: so a long answer is not decoded again and again.
        self._before: list[int] = []
        self._tokens: list[int] = []
        self._text = ""
        self._given = 0
        self.stopped = False

    def add(self, tokens: Sequence[int]) -> str:
        """What can be told after these tokens; maybe nothing yet."""
        self._tokens += tokens
        text = self._decode([*self._before, *self._tokens])
        if text.endswith("\N{REPLACEMENT CHARACTER}"):  # the rest of a character is to come
            return ""
        self._read(text)
        return self._give(held=self._begun())

    def rest(self) -> str:
        """What was held back, at the end of the answer."""
        self._read(self._decode([*self._before, *self._tokens]))
        return self._give(held=0)

    def _read(self, text: str) -> None:
        self._text += text[len(self._decode(self._before)) :]
        if self._tokens:
            self._before, self._tokens = self._tokens, []

    def _give(self, held: int) -> str:
        if self.stopped:
            return ""
        found = [at for at in (self._text.find(stop, self._given) for stop in self._stops) if at >= 0]
        end = min(found) if found else len(self._text) - held
        self.stopped = bool(found)
        piece = self._text[self._given : end]
        self._given = max(self._given, end)
        return piece

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        return max(
            (size for stop in self._stops for size in range(1, len(stop)) if self._text.endswith(stop[:size])),
            default=0,
        )
