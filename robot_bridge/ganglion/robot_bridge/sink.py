"""From a reply to a command: which row of the chunk is due, when to hold, and limits that nothing gets around.

Safety lives here, on the robot's side: whatever the policy says, a command stays within [low, high] and changes by at
most max_rate per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ganglion.core.limits import Limits, limit
from ganglion.core.messages import Reply
from ganglion.core.specs import ActionSpec

Action = npt.NDArray[np.float64]


class Actuator(Protocol):
    """What moves. `command` must return at once."""

    def command(self, action: Action, stamp_ns: int) -> None:
        """Apply (dim,) values in the action spec's units, decided at monotonic time `stamp_ns`."""


class NoActuator:
    """Commands go nowhere: for measuring, and for a policy that only estimates."""

    def command(self, action: Action, stamp_ns: int) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Applied:
    """What was commanded. held: why it is not the policy's action ("not_ready", "stale", "nonfinite"), or None."""

    action: Action
    held: str | None


class LimitingSink:
    """Takes replies, commands an actuator within limits. One per robot; used by one thread."""

    def __init__(self, actions: ActionSpec, actuator: Actuator | None = None) -> None:
        self._limits = Limits.of(actions)
        self._period_ns, self._horizon = 1e9 / actions.rate_hz, actions.horizon
        self._actuator: Actuator = actuator or NoActuator()
        self._previous = np.clip(np.zeros(actions.dim), self._limits.low, self._limits.high)
        self._last_ns: int | None = None

    def apply(self, reply: Reply, now_ns: int) -> Applied:
        """Command the row of the chunk that is due at `now_ns` (monotonic), or hold.

        A command changes by no more than one control period allows, even after a pause: no catching up in a jump.
        """
        target, held = self._target(reply, now_ns)
        elapsed_ns = self._period_ns if self._last_ns is None else min(now_ns - self._last_ns, self._period_ns)
        action = limit(target, self._previous, elapsed_ns / 1e9, self._limits)
        self._previous, self._last_ns = action, now_ns
        self._actuator.command(action, now_ns)
        return Applied(action, held)

    def _target(self, reply: Reply, now_ns: int) -> tuple[Action, str | None]:
        at_rest = self._limits.at_rest(self._previous)
        if not reply.ready:
            return at_rest, "not_ready"
        row = max(0, int((now_ns - reply.stamp_ns) // self._period_ns))
        if row >= self._horizon:
            return at_rest, "stale"
        target = reply.chunk[row].astype(np.float64)
        return (target, None) if np.isfinite(target).all() else (at_rest, "nonfinite")
