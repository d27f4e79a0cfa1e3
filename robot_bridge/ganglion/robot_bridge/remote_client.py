"""A robot's client of a policy server, without its transport: deadlines, back-off, what the robot is told.

A server that is not there, or dies, or is slow, never stops the robot's loop: within the deadline `send_hop` gives a
reply that is not ready (see `remote_session`), and the line is opened again, less and less often, at most every
`_LONGEST_WAIT_S`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.hop_check import check_hop
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import NoSession, PolicyRequest, Tensors, read_reply
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.remote_session import RemoteSession

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_END_S = 1.0


class Busy(GanglionError):
    """The server has not caught up with what was sent: what came now was not."""


class Line(Protocol):
    """What messages go on. `error`: why there will be no more answers."""

    @property
    def error(self) -> GanglionError | None:
        """None while answers may come."""

    def send(self, request: PolicyRequest, start: bool, end: bool) -> None:
        """Send a message without waiting.

        Raises:
            Busy: there is no room for it yet.
            GanglionError: it can't be.
        """

    def receive(self, until_s: float) -> Tensors | GanglionError | None:
        """The next answer, or the server's error; None: none before `until_s` of the monotonic clock, or ever.

        Raises:
            GanglionError: what came is no answer.
        """

    def close(self, within_s: float) -> None:
        """Close it; what was sent may still arrive within that time."""


class Opening(Protocol):
    """A line that is being made."""

    def wait(self, within_s: float) -> Line | None:
        """The line; None while there is none yet.

        Raises:
            GanglionError: there will be none.
        """

    def give_up(self) -> None:
        """Nobody waits for it any more."""


class RemoteClient(ABC):
    """A `core.messages.PolicyClient` over some line.

    `send_hop` belongs to one thread; frames and the instruction may come from others.

    Args:
        robot: what the policy was exported for.
        deadline_ms: how long `send_hop` waits for a reply; half a hop at 50 Hz leaves time to act.
        most_waiting: hops without a reply yet, beyond which none is sent until the server has caught up; it then begins
            anew from the window.
    """

    def __init__(self, robot: RobotSpec, *, deadline_ms: float, most_waiting: int) -> None:
        self._robot, self._session = robot, RemoteSession(robot)
        self._deadline_s, self._most_waiting = deadline_ms / 1e3, most_waiting
        self._opening: Opening | None = None
        self._line: Line | None = None
        self._waiting = 0  # messages without an answer yet
        self._wait_s, self._not_before_s = _FIRST_WAIT_S, 0.0
        self._closed = False
        self.problem: GanglionError | None = None  # why the last hop had no reply of the server's

    @abstractmethod
    def _begin(self) -> Opening:
        """Begin to make a line, without waiting."""

    def set_instruction(self, instruction: str) -> None:
        """Name the goal in words; it goes with the next hop."""
        self._session.set_instruction(instruction)

    def send_frame(self, frame: Frame) -> None:
        """Hand over a frame and return at once; it goes with the next hop, or the newest of its camera does."""
        self._session.send_frame(frame)

    def send_hop(self, hop: Hop) -> Reply | None:
        """Hand over samples and get the chunk; None while fewer than one whole hop is buffered.

        Raises:
            InputError: samples or state have another shape or type than the spec says; nothing was sent.
        """
        if self._closed:
            raise GanglionError("is closed", where="policy client", remedy="open a new one")
        check_hop(hop, self._robot)
        started = time.monotonic()
        until_s = started + self._deadline_s
        try:
            line = self._connected(until_s)
            if line and self._waiting >= self._most_waiting:
                self._receive(line, started)
        except GanglionError as error:
            self._session.keep(hop)
            return self._session.unanswered(hop, self._failed(error))
        if line is None or self._waiting >= self._most_waiting:
            self._session.keep(hop)
            self._session.lost()
            return self._session.unanswered(hop, "late" if line else "unreachable")
        try:
            for message in self._session.messages(hop):
                self._send(line, message.request, start=message.start)
            found = self._receive(line, until_s)
            answer = None if found is None else read_reply(found)
        except GanglionError as error:
            return self._session.unanswered(hop, self._failed(error))
        if found is None:
            return self._session.unanswered(hop, "late")
        self.problem, self._wait_s = None, _FIRST_WAIT_S
        reply = self._session.answered(answer)
        if reply is not None:
            reply.timings_ms["round_trip"] = 1e3 * (time.monotonic() - started)
        return reply

    def close(self) -> None:
        """End the session on the server and the line. Harmless when called twice."""
        self._closed = True
        if self._line and (last := self._session.end()):
            self._send(self._line, last, end=True)
        self._disconnect(_END_S)

    def __enter__(self) -> Self:
        """Give the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _connected(self, until_s: float) -> Line | None:
        """The line; None while there is none.

        Raises:
            GanglionError: it broke, or can't be opened.
        """
        if self._line and self._line.error:
            raise self._line.error
        now = time.monotonic()
        if self._line is None and self._opening is None and now >= self._not_before_s:
            self._not_before_s, self._wait_s = now + self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
            self._opening = self._begin()
        if self._opening and (made := self._opening.wait(until_s - now)):
            self._opening, self._waiting = None, 0
            self._line = made
        return self._line

    def _send(self, line: Line, request: PolicyRequest, start: bool = False, end: bool = False) -> None:
        line.send(request, start, end)
        self._waiting += 1

    def _receive(self, line: Line, until_s: float) -> Tensors | None:
        """The tensors that answer the last message sent; None if they did not come in time.

        Raises:
            GanglionError: the line is broken, or what the server says went wrong, with any message since the last.
        """
        answer: Tensors | GanglionError | None = None
        failed: GanglionError | None = None
        while self._waiting and (answer := line.receive(until_s)) is not None:
            self._waiting -= 1
            if isinstance(answer, GanglionError):
                failed = failed or answer
        if failed is None and self._waiting:
            failed = line.error
        if failed:
            raise failed
        return answer if not (self._waiting or isinstance(answer, GanglionError)) else None

    def _failed(self, error: GanglionError) -> str:
        """Note what went wrong and how to go on; the flag that says so."""
        self.problem = error
        if isinstance(error, InputError):
            return "refused"  # this message alone: the session is as it was
        if isinstance(error, Busy):
            self._session.lost()
            return "late"
        flag = "unreachable" if self._line is None or self._line.error else "refused"
        self._session.lost()
        if not isinstance(error, NoSession):
            self._disconnect(0.0)
        return flag

    def _disconnect(self, within_s: float) -> None:
        if self._opening:
            self._opening.give_up()
        if self._line:
            self._line.close(within_s)
        self._opening = self._line = None
