"""One thread per engine that turns the newest frames into VL features, taking the sessions in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame
from ganglion.serving.policy.vl_encoder import VlEncoder, VlFeatures


@dataclass(frozen=True)
class VlRequest:
    """Frames to encode, one of each camera in the spec's order. `deliver` gets features, or what was wrong."""

    frames: tuple[Frame, ...]
    instruction: str
    deliver: Callable[[VlFeatures | InputError], None]


class VlRefresh:
    """Runs until `close`. A session has at most one request waiting: a newer one takes its place and its turn."""

    def __init__(self, encoder: VlEncoder) -> None:
        self._encoder = encoder
        self._waiting: dict[int, VlRequest] = {}  # by session, oldest turn first
        self._encoding: int | None = None  # whose turn it is
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="vl-refresh", daemon=True)
        self._thread.start()

    def submit(self, session: int, request: VlRequest) -> None:
        """Hand over a request and return at once."""
        with self._changed:
            self._waiting[session] = request
            self._changed.notify_all()

    def settle(self, session: int) -> None:
        """Wait until nothing of a session's is waiting or being encoded; what came of it has been delivered then."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (session in self._waiting or session == self._encoding))

    def forget(self, session: int) -> None:
        """Drop what waits for a session."""
        with self._changed:
            self._waiting.pop(session, None)
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread and wait for it. Harmless when called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (request := self._next()) is not None:
            try:
                found: VlFeatures | InputError = self._encoder(request.frames, request.instruction)
            except InputError as error:
                found = error
            except Exception as error:  # a frame that breaks ONNX Runtime must not end every robot's refresh
                found = InputError(f"can't be encoded ({' '.join(str(error).split()):.200})", where="camera frame")
            request.deliver(found)
            with self._changed:
                self._encoding = None
                self._changed.notify_all()

    def _next(self) -> VlRequest | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._encoding = next(iter(self._waiting))
            return self._waiting.pop(self._encoding)
