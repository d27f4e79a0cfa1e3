"""The robot's side of a session on a policy server, without the transport: what to send, and what came of it.

A server may die, lose the session or refuse it. The robot goes on sampling meanwhile; when a server is there again, the
session begins anew from the window of samples that was kept here, and the first reply after that says "gap". What a
server did not answer in time is answered here, with a reply that is not ready:

    late         the deadline passed before the server's reply came
    refused      the server said no: it is full, or can't use the message, or has lost the session
    unreachable  there is no connection

Clients for each transport are thin around this.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import PolicyRequest
from ganglion.core.specs import RobotSpec


@dataclass(frozen=True)
class Message:
    """One request, and whether it begins the session."""

    request: PolicyRequest
    start: bool


class RemoteSession:
    """What one robot says to a policy server.

    `messages`, `answered` and `lost` belong to one thread; frames and the instruction may come from others.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._window_samples = robot.sensors[0].window_samples if robot.sensors else 0
        self._token = secrets.token_bytes(16)
        self._kept: deque[Hop] = deque()  # contiguous, a window's worth
        self._begun, self._resumed = False, False
        self._lock = threading.Lock()
        self._instruction: str | None = None
        self._frames: dict[str, Frame] = {}
        self._unsent: set[str] = set()
        self._instruction_sent = True

    def set_instruction(self, instruction: str) -> None:
        """Goes with the next message."""
        with self._lock:
            self._instruction, self._instruction_sent = instruction, False

    def send_frame(self, frame: Frame) -> None:
        """Goes with the next message; a newer one of its camera takes its place."""
        with self._lock:
            self._frames[frame.camera] = frame
            self._unsent.add(frame.camera)

    def messages(self, hop: Hop) -> list[Message]:
        """What to send for a hop: it alone, or first what begins the session."""
        found: list[Message] = []
        if not self._begun:
            self._resumed |= bool(self._kept)
            if window := self._window(hop):
                found.append(Message(self._request(window, prime=True), start=True))
            self._begun = True
            found.append(Message(self._request(hop), start=not found))
        else:
            found.append(Message(self._request(hop), start=False))
        self.keep(hop)
        return found

    def keep(self, hop: Hop) -> None:
        """Remember samples to begin from, also while there is nobody to send them to."""
        kept = self._kept
        if kept and hop.first_seq != kept[-1].first_seq + len(kept[-1].samples):
            kept.clear()
        kept.append(hop)
        end = hop.first_seq + len(hop.samples)
        while len(kept) > 1 and end - kept[1].first_seq >= self._window_samples:
            kept.popleft()

    def lost(self) -> None:
        """The server, or its session, is gone: the next message begins a new one, with all that it needs to know."""
        self._begun = False
        with self._lock:
            self._unsent = set(self._frames)
            self._instruction_sent = self._instruction is None

    def end(self) -> PolicyRequest | None:
        """What ends the session on the server; None where there is none."""
        if not self._begun or not self._kept:
            return None
        self._begun, last = False, self._kept[-1]
        nothing = Hop(last.first_seq + len(last.samples), last.stamp_ns, last.samples[:0])
        return PolicyRequest(nothing, token=self._token)

    def answered(self, reply: Reply | None) -> Reply | None:
        """The server's reply, flagged "gap" where the session was begun anew before it."""
        if reply is None or not self._resumed:
            return reply
        self._resumed = False
        return replace(reply, flags=tuple(sorted({*reply.flags, "gap"})))

    def unanswered(self, hop: Hop, flag: str) -> Reply:
        """A reply in the server's place: hold."""
        actions = self._robot.actions
        chunk = np.zeros((actions.horizon, actions.dim), np.float32)
        last = hop.first_seq + len(hop.samples) - 1
        return Reply(chunk, last_seq=last, stamp_ns=hop.stamp_ns, ready=False, vl_age_ms=None, flags=(flag,))

    def _window(self, hop: Hop) -> Hop | None:
        """The samples that were kept, if this hop follows on them."""
        if not self._kept:
            return None
        last = self._kept[-1]
        if hop.first_seq != last.first_seq + len(last.samples):
            return None
        samples = np.concatenate([one.samples for one in self._kept])
        return Hop(self._kept[0].first_seq, last.stamp_ns, samples, last.state)

    def _request(self, hop: Hop, prime: bool = False) -> PolicyRequest:
        with self._lock:
            frames = tuple(self._frames[camera] for camera in self._frames if camera in self._unsent)
            instruction = None if self._instruction_sent else self._instruction
            self._unsent.clear()
            self._instruction_sent = True
        return PolicyRequest(hop, prime=prime, frames=frames, instruction=instruction, token=self._token)
