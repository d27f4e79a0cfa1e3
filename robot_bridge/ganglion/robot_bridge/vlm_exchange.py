"""What a question to a chat-completions server and its answer are, without the network: shared by both clients.

`VlmServer` says where it is; `Exchange` makes the request, reads the reply, and says what an error means.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ganglion.core.chat_request import EarlierTurn, chat_request
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.images import ImageLike
from ganglion.core.tasks import Task, read_answer

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
_LONGEST_REASON = 200
_ALLOW_MORE = "allow more, or see its load"


@dataclass(frozen=True)
class VlmServer:
    """A server that speaks OpenAI's chat completions.

    Args:
        url: of its endpoints, such as http://127.0.0.1:8100/v1.
        token: sent as `Authorization: Bearer TOKEN`; None for none.
        ca_file: PEM file of what signed its certificate; None for the system's.
        deadline_s: from the question to the whole answer, reconnecting counted.
        model: its name there; default is the task's, as `ganglion serve vlm` names it.
    """

    url: str
    token: str | None = None
    ca_file: Path | None = None
    deadline_s: float = 30.0
    model: str | None = None

    def client_options(self) -> dict[str, Any]:
        """Of an httpx client.

        Raises:
            InputError: the URL is none, or ca_file can't be read.
        """
        if not self.url.startswith(("http://", "https://")):
            raise InputError("is no URL", where=self.url, remedy="give one such as http://127.0.0.1:8100/v1")
        try:
            verify = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise InputError(f"can't be read ({error})", where=self.ca_file, remedy="name a PEM file") from None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        # trust_env: a proxy that a variable names would see the robot's cameras.
        return {"base_url": self.url.rstrip("/") + "/", "headers": headers, "verify": verify, "trust_env": False}


@dataclass(frozen=True)
class Reply:
    """An answer that its task allows.

    value       what it says: a dict for a JSON task, the stripped text for any other
    text        exactly as it was written
    complete    False where it was cut at the task's length, which only plain text can be
    tokens      of the prompt and of the answer, as the server counts them; None where it does not
    timings_ms  "connect": encoding images and waiting for a server to be there; "answer": from then on
    """

    value: Any
    text: str
    complete: bool
    tokens: tuple[int, int] | None
    timings_ms: Mapping[str, float]


@dataclass(frozen=True)
class Exchange:
    """One question to one server, begun at a monotonic time in seconds."""

    server: VlmServer
    task: Task
    body: Mapping[str, Any]
    begun: float

    @staticmethod
    def of(
        server: VlmServer,
        task: Task,
        prompt: str,
        images: Sequence[ImageLike],
        history: Sequence[EarlierTurn],
        *,
        stream: bool,
    ) -> Exchange:
        """Make the request.

        Raises:
            InputError: an image can't be decoded.
        """
        begun = time.monotonic()
        body = chat_request(task, prompt, images, history, model=server.model, stream=stream)
        return Exchange(server, task, body, begun)

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """For a client; every wait in it lasts no longer than what is left of the deadline.

        Raises:
            GanglionError: nothing is left.
        """
        return client.build_request("POST", "chat/completions", json=dict(self.body), timeout=self.left_s())

    def left_s(self) -> float:
        """Of the deadline.

        Raises:
            GanglionError: nothing.
        """
        left = self.begun + self.server.deadline_s - time.monotonic()
        if left <= 0:
            raise self._error(f"gave no whole answer within {self.server.deadline_s:g} s", _ALLOW_MORE)
        return left

    def tries_again(self, error: httpx.HTTPError, wait_s: float) -> bool:
        """Whether to connect again after a wait: nobody listens, which may pass, and there is time."""
        # A certificate that is not trusted will not be a moment later.
        refused = isinstance(error, httpx.ConnectError) and "CERTIFICATE" not in str(error).upper()
        return refused and wait_s < self.left_s()

    def read(self, content: bytes, sent: float) -> Reply:
        """The reply of a server to what was sent at a monotonic time in seconds, checked.

        Raises:
            GanglionError: it is no chat completion, or its text is not what the task allows.
        """
        timings_ms = {"connect": (sent - self.begun) * 1e3, "answer": (time.monotonic() - sent) * 1e3}
        try:
            reply = json.loads(content)
            choice, usage = reply["choices"][0], reply.get("usage")
            text, reason = str(choice["message"]["content"]), choice["finish_reason"]
            tokens = (int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._error("answered what is no chat completion", "see whether it speaks OpenAI's API") from None
        return Reply(self.value(text), text, reason == "stop", tokens, timings_ms)

    def value(self, text: str) -> Any:
        """What a text says.

        Raises:
            GanglionError: it is not what the task's schema allows.
        """
        if self.task.schema is None:
            return text.strip()
        value = read_answer(text, self.task.schema)
        if value is None:
            raise self._error(
                f"answered {text[:80]!r}, which the schema of {self.task.name} does not allow",
                "see whether it constrains answers (response_format)",
            )
        return value

    def piece(self, line: str) -> str | None:
        """The text that a line of a stream brings, "" for none; None where it says that the answer is whole.

        Raises:
            GanglionError: the line is damaged, or tells of an error.
        """
        if not line.startswith("data:"):
            return ""  # between events, or a comment that keeps the line open
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return None
        try:
            event = json.loads(data)
            if "error" in event:
                raise self._error(f"broke off: {_reason(data.encode())}", "ask again")
            return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._error("sent a damaged stream", "see whether it speaks OpenAI's API") from None

    def refused(self, status: int, content: bytes) -> GanglionError:
        """What a status other than 200 means."""
        what = f"refused the request ({status} {_reason(content)})".replace(" )", ")")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return InputError(what, where=self.server.url, remedy="give the token that it was started with")
        if status == httpx.codes.NOT_FOUND:
            return InputError(what, where=self.server.url, remedy="name a model it serves, and a URL ending in /v1")
        if status < httpx.codes.INTERNAL_SERVER_ERROR:
            return InputError(what, where=self.server.url, remedy="correct the request")
        return self._error(f"failed ({status} {_reason(content)})".replace(" )", ")"), "see its log")

    def failed(self, error: httpx.HTTPError) -> GanglionError:
        """What an error on the way means."""
        if isinstance(error, httpx.TimeoutException):
            return self._error(f"gave no whole answer within {self.server.deadline_s:g} s", _ALLOW_MORE)
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, httpx.ConnectError):
            return self._error(f"can't be reached ({reason})", "see whether it runs, and its address and certificate")
        return self._error(f"broke off ({reason})", "see its log")

    def cut(self) -> GanglionError:
        """A stream ended before its answer did."""
        return self._error("broke off within the answer", "see its log")

    def _error(self, what: str, remedy: str) -> GanglionError:
        return GanglionError(what, where=self.server.url, remedy=remedy)


def waits() -> Iterator[float]:
    """Seconds to wait before each new attempt to connect: doubled, up to a limit."""
    wait_s = _FIRST_WAIT_S
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _reason(content: bytes) -> str:
    """The message in an error's body, in one line."""
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = str(error["message"] if isinstance(error, dict) and "message" in error else error)
    except ValueError:
        pass
    return " ".join(text.split())[:_LONGEST_REASON]
