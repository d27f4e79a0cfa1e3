"""The threads of an engine that turn the newest frames into VL features, taking the sessions in turn."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame
from ganglion.serving.policy.vl_encoder import VlFeatures

_SWITCH_S = 1e-4


@dataclass(frozen=True)
class VlRequest:
    """Frames to encode, one of each camera in the spec's order. `deliver` gets features, or what was wrong."""

    frames: tuple[Frame, ...]
    instruction: str
    deliver: Callable[[VlFeatures | InputError], None]


def let_hops_through() -> None:
    """Have the interpreter switch threads more often: for the process of a policy host.

    CPython's own 5 ms are how long a hop would wait for the thread that prepares a frame.
    """
    sys.setswitchinterval(_SWITCH_S)


class VlRefresh:
    """Runs until `close`.

    A session has at most one request waiting, whose place and turn a newer one takes, and at most one being encoded: so
    what is delivered to it comes in the order of its frames, however many workers there are.

    Args:
        encode: called by all workers at once.
        workers: threads; more than one where what they wait for is another server's work.

    Raises:
        InputError: there would be no worker.
    """

    def __init__(self, encode: Callable[[Sequence[Frame], str], VlFeatures], workers: int = 1) -> None:
        if workers < 1:
            raise InputError(f"has {workers} workers", where="VL refresh", remedy="give at least 1")
        self._encode = encode
        self._waiting: dict[int, VlRequest] = {}  # by session, oldest turn first
        self._encoding: set[int] = set()  # whose turn it is
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"vl-refresh-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)  # a thread within a graph would abort the interpreter's end

    def submit(self, session: int, request: VlRequest) -> None:
        """Hand over a request and return at once."""
        with self._changed:
            self._waiting[session] = request
            self._changed.notify_all()

    @property
    def alive(self) -> bool:
        """Whether frames are still encoded: every worker runs."""
        return not self._closed and all(thread.is_alive() for thread in self._threads)

    def settle(self, session: int) -> None:
        """Wait until nothing of a session's is waiting or being encoded; what came of it has been delivered then."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or session not in self._waiting.keys() | self._encoding)

    def forget(self, session: int) -> None:
        """Drop what waits for a session."""
        with self._changed:
            self._waiting.pop(session, None)
            self._changed.notify_all()

    def close(self) -> None:
        """End the threads and wait for what they are at. Harmless when called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        atexit.unregister(self.close)

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            session, request = turn
            try:
                found: VlFeatures | InputError = self._encode(request.frames, request.instruction)
            except InputError as error:
                found = error
            except Exception as error:  # what breaks one frame's encoding must not end every robot's refresh
                found = InputError(f"can't be encoded ({' '.join(str(error).split()):.200})", where="camera frame")
            request.deliver(found)
            with self._changed:
                self._encoding.discard(session)
                self._changed.notify_all()

    def _next(self) -> tuple[int, VlRequest] | None:
        """Wait for a session whose turn has come and take its request; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready() is not None)
            if self._closed or (session := self._ready()) is None:
                return None
            self._encoding.add(session)
            return session, self._waiting.pop(session)

    def _ready(self) -> int | None:
        """The session that has waited longest and is not being encoded."""
        return next((session for session in self._waiting if session not in self._encoding), None)
