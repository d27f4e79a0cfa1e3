"""What is refused, and why, in OpenAI's form: {"error": {message, type, param, code}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from ganglion.core.errors import GanglionError, InputError
from ganglion.serving.vlm.refusals import Busy, TooLate
from ganglion.serving.vlm_request.wrong import WrongField

_RETRY_S = "1"


class ApiError(Exception):
    """A reply other than 200.

    Args:
        status: of HTTP.
        message: what is wrong, one line.
        param: the request's field that it is about.
        code: for programs.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> Mapping[str, Any]:
        """As it is sent."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def reply(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """As a reply; one that may be asked again says when."""
        retry = {"retry-after": _RETRY_S} if self.status in (429, 503) else {}
        challenge = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(self.body, self.status, {**retry, **challenge, **(headers or {})})


def api_error(error: BaseException) -> ApiError:
    """What a client is told of an error; of an unforeseen one, nothing but that there was one."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        return ApiError(429, str(error), code="queue_full")
    if isinstance(error, TooLate):
        return ApiError(503, str(error), code="deadline_exceeded")
    if isinstance(error, WrongField):
        return ApiError(400, error.what, param=error.param, code=error.code)
    if isinstance(error, InputError):
        return ApiError(400, str(error))
    if isinstance(error, GanglionError):
        return ApiError(500, str(error))
    return ApiError(500, "the server failed on this request")
