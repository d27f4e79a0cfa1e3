"""What a server says to a request that it can't take now; both may be asked again."""

from __future__ import annotations

from ganglion.core.errors import GanglionError


class Busy(GanglionError):
    """As many requests wait as may. Ask again later."""


class TooLate(GanglionError):
    """The request's own deadline passed before its answer was whole."""
