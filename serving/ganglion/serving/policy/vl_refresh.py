"""Threads that turn the newest frames into VL features, taking the sessions in turn.

One is enough where the encoder runs in this process. Where it is a server's model, which puts requests together, each
further one lets another session's frames join the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame
from ganglion.serving.policy.vl_encoder import VlFeatures

Encode = Callable[[Sequence[Frame], str], VlFeatures]
"""Frames of all cameras and the instruction -> features; an InputError says what is wrong with them."""


@dataclass(frozen=True)
class VlRequest:
    """Frames to encode, one of each camera in the spec's order. `deliver` gets features, or what was wrong."""

    frames: tuple[Frame, ...]
    instruction: str
    deliver: Callable[[VlFeatures | InputError], None]


class VlRefresh:
    """Runs until `close`.

    A session has at most one request waiting, whose place and turn a newer one takes, and at most one being encoded, so
    that what it is given never goes back in time.

    Args:
        encode: called by each of the threads.
        workers: how many there are.
    """

    def __init__(self, encode: Encode, workers: int = 1) -> None:
        self._encode = encode
        self._waiting: dict[int, VlRequest] = {}  # by session, oldest turn first
        self._encoding: set[int] = set()  # whose turn it is
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name="vl-refresh", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, session: int, request: VlRequest) -> None:
        """Hand over a request and return at once."""
        with self._changed:
            self._waiting[session] = request
            self._changed.notify_all()

    def settle(self, session: int) -> None:
        """Wait until nothing of a session's is waiting or being encoded; what came of it has been delivered then."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (session in self._waiting or session in self._encoding))

    def forget(self, session: int) -> None:
        """Drop what waits for a session."""
        with self._changed:
            self._waiting.pop(session, None)
            self._changed.notify_all()

    def close(self) -> None:
        """End the threads and wait for them. Harmless when called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            session, request = turn
            try:
                found: VlFeatures | InputError = self._encode(request.frames, request.instruction)
            except InputError as error:
                found = error
            except Exception as error:  # a frame that breaks ONNX Runtime must not end every robot's refresh
                found = InputError(f"can't be encoded ({' '.join(str(error).split()):.200})", where="camera frame")
            request.deliver(found)
            with self._changed:
                self._encoding.discard(session)
                self._changed.notify_all()

    def _next(self) -> tuple[int, VlRequest] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting.keys() - self._encoding)
            if self._closed:
                return None
            session = next(session for session in self._waiting if session not in self._encoding)
            self._encoding.add(session)
            return session, self._waiting.pop(session)
