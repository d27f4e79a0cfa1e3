"""The robots that one process serves: who has a session, who may speak in it, and when it ends.

Every transport hosts a `PolicyHost`: Triton's python model with its correlation ids, the shared-memory host with its
connections. What goes wrong with one robot's message is that robot's error alone.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import NoSession, PolicyRequest, ServerFull
from ganglion.serving.policy.observer import HostObserver, SessionRecord

_SWEEP_S = 0.5  # between looks for idle sessions


class Session(Protocol):
    """What is hosted: `PolicySession`."""

    def set_instruction(self, instruction: str) -> None:
        """See PolicySession."""

    def send_frame(self, frame: Frame) -> None:
        """See PolicySession."""

    def prime(self, hop: Hop) -> None:
        """See PolicySession."""

    def send_hop(self, hop: Hop) -> Reply | None:
        """See PolicySession."""

    def close(self) -> None:
        """See PolicySession."""


@dataclass
class _Place:
    session: Session
    token: bytes
    used_s: float
    record: SessionRecord


class PolicyHost:
    """Sessions by robot. For one thread.

    Args:
        open_session: makes a session; called when a robot begins.
        slots: how many robots are served at once.
        idle_s: a session that was silent for so long ends; its robot has to begin again.
        clock: seconds, monotonic.
        observer: told of all that happens; by default nobody counts, and events go to the log.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        *,
        slots: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
        observer: HostObserver | None = None,
    ) -> None:
        self._open, self._slots, self._idle_s, self._clock = open_session, slots, idle_s, clock
        self._observer = observer or HostObserver(clock=clock)
        self._places: dict[int, _Place] = {}
        self._swept_s = clock()

    @property
    def sessions(self) -> int:
        """How many robots have one."""
        return len(self._places)

    def handle(self, robot: int, request: PolicyRequest, *, start: bool = False, end: bool = False) -> Reply | None:
        """Answer a message; None while no new hop is whole, and for a window that primes.

        A frame that can't be used costs no hop: the reply says "bad_frame".

        Args:
            robot: its number on this transport.
            request: the message.
            start: begin a session with this message; one that the robot has is given up.
            end: end it after this message.

        Raises:
            NoSession: the robot has none, or another client's.
            ServerFull: it would be one too many.
            InputError: the message does not fit the robot's spec; the session is as it was.
        """
        started_s = time.perf_counter()
        place = self._begin(robot, request) if start else self._find(robot, request)
        place.used_s = self._clock()
        try:
            reply = _answer(place.session, request)
            if reply is not None:
                self._observer.replied(place.record, reply, time.perf_counter() - started_s)
            return reply
        except Exception as error:
            self._observer.failed(robot, error, place.record)
            raise
        finally:
            if end:
                self._end(robot, "client")

    def unreadable(self, robot: int, error: Exception) -> None:
        """Count a message that its transport could not read: there is nothing to `handle`."""
        self._observer.failed(robot, error)

    def leave(self, robot: int) -> None:
        """End the session of a robot whose connection ended; harmless where it has none."""
        if robot in self._places:
            self._end(robot, "client")

    def sweep(self) -> None:
        """End sessions that were silent for too long; `handle` does so, too, but silence calls nobody."""
        self._swept_s = now = self._clock()
        for robot in [robot for robot, place in self._places.items() if now - place.used_s > self._idle_s]:
            self._end(robot, "idle")

    def close(self) -> None:
        """End every session."""
        for robot in list(self._places):
            self._end(robot, "closed")

    def _begin(self, robot: int, request: PolicyRequest) -> _Place:
        if robot in self._places:
            self._find(robot, request)  # it must be the robot's own
            self._end(robot, "anew")
        self.sweep()
        if len(self._places) >= self._slots:
            self._observer.refused(robot, "full")
            raise ServerFull(
                f"serves {self._slots} robots already",
                where="policy server",
                remedy="try again when one has left, or serve with more --slots",
            )
        session = self._open()
        place = self._places[robot] = _Place(session, request.token, self._clock(), self._observer.begun(robot))
        return place

    def _find(self, robot: int, request: PolicyRequest) -> _Place:
        if self._clock() - self._swept_s > _SWEEP_S:
            self.sweep()
        place = self._places.get(robot)
        if place is None:
            self._observer.refused(robot, "no_session")
            raise NoSession(
                f"has no session of this robot (they end after {self._idle_s:g} s of silence)",
                where="policy server",
                remedy="begin again, with a window to prime it",
            )
        if not hmac.compare_digest(place.token, request.token):
            self._observer.refused(robot, "other_client")
            raise NoSession("the session is another client's", where="policy server", remedy="begin one of your own")
        return place

    def _end(self, robot: int, why: str) -> None:
        place = self._places.pop(robot)
        place.session.close()
        self._observer.ended(place.record, why)


def _answer(session: Session, request: PolicyRequest) -> Reply | None:
    if request.instruction is not None:
        session.set_instruction(request.instruction)
    usable = True
    for frame in request.frames:
        try:
            session.send_frame(frame)
        except InputError:
            usable = False
    if request.prime:
        session.prime(request.hop)
        return None
    reply = session.send_hop(request.hop)
    if reply is None or usable:
        return reply
    return replace(reply, flags=tuple(sorted({*reply.flags, "bad_frame"})))
