"""How many answers are served at once, and how much memory their caches may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ganglion.core.errors import InputError


@dataclass(frozen=True)
class ServingLimits:
    """What bounds a `Scheduler`.

    Args:
        running: answers that are written at once.
        waiting: requests that wait beyond those; further ones are refused at once.
        kv_bytes: of keys and values of all running answers; None for as many as the decoder's weights take, and at
            least what one answer of the model's whole context needs.
        join_quantized: read several answers in one call of a decoder that rounds activations, too. It is as much faster
            as it is in float32, but then who else is served may change a token: where the last bit of a sum decides how
            an activation is rounded.
    """

    running: int = 8
    waiting: int = 64
    kv_bytes: int | None = None
    join_quantized: bool = False

    def __post_init__(self) -> None:
        if self.running < 1 or self.waiting < 0 or (self.kv_bytes is not None and self.kv_bytes < 1):
            raise InputError(f"{self} leaves no room for an answer", remedy="give running and kv_bytes at least 1")


@dataclass(frozen=True)
class KvBudget:
    """Memory of keys and values, in bytes.

    Joined caches are as long as the longest, and the next ones are made beside them: so answers that come to (T1, T2,
    ...) tokens are counted as 2 * count * max(T) tokens. On top come activations of the calls that run, and the pixels
    that waiting requests show.

    Args:
        total: what may be used.
        token_bytes: of one token's keys and values.
    """

    total: int
    token_bytes: int

    def needs(self, lengths: Iterable[int]) -> int:
        """Bytes that answers which come to so many tokens each need together."""
        counted = list(lengths)
        return 2 * self.token_bytes * len(counted) * max(counted, default=0)

    def check(self, length: int) -> None:
        """See whether an answer that comes to `length` tokens can ever be served.

        Raises:
            InputError: it needs more than there is.
        """
        needed = self.needs([length])
        if needed > self.total:
            raise InputError(
                f"prompt and answer may come to {length} tokens, which need {needed / 1e6:.2f} MB of cache "
                f"of {self.total / 1e6:.2f} MB in all",
                remedy="ask for a shorter answer, or serve with more",
            )
