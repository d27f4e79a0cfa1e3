"""A field of a request that can't be served."""

from __future__ import annotations

from ganglion.core.errors import InputError


class WrongField(InputError):
    """What is wrong with a request, for the client that sent it.

    Args:
        what: the reason.
        param: the field that it is about; None for the whole request.
        code: for programs.
    """

    def __init__(self, what: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(what, where=param)
        self.param, self.code = param, code
