"""A simulated robot and a policy host on a virtual clock: a closed loop that waits for nothing and repeats to the bit.

    world = open_world("insertion", seed=1)
    log = VirtualBridge(world, client).run(seconds=6)
    print(judge(world), log.holds)

One hop after the other: the frames that have arrived go to the client, then the hop, and the sink's command acts from
the first hop that begins after it. The clock counts ns from 0, where sample 0 is due, and its stamps are those of a
real-time run with the same world; see live.py.

The loop is deterministic if the client is. One that encodes frames in a thread of its own has to say when it is done
with them: give `settle`, which for the in-process session is `PolicySession.settle`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.limits import Limits
from ganglion.core.messages import Frame, Hop, PolicyClient, Reply
from ganglion.robot_bridge.camera import encode_frame
from ganglion.robot_bridge.sink import Action, LimitingSink

if TYPE_CHECKING:
    from ganglion.simulation.world import World


@dataclass(frozen=True)
class VirtualLog:
    """What happened, a row for each of n hops.

    stamps_ns  (n,) int64, virtual time of the hop's newest sample
    actions    (n, dim) float64, what the world was told for the hop
    states     (n, state dim) float64, the robot at its end, see World.state
    ready      (n,) bool, whether the reply to the hop was ready
    held       why what was commanded upon it is not the policy's action; None if it is, or if no reply came
    flags      of the reply
    """

    stamps_ns: npt.NDArray[np.int64]
    actions: npt.NDArray[np.float64]
    states: npt.NDArray[np.float64]
    ready: npt.NDArray[np.bool_]
    held: tuple[str | None, ...]
    flags: tuple[tuple[str, ...], ...]

    @property
    def holds(self) -> dict[str, int]:
        """Hops by reason for holding."""
        return dict(Counter(reason for reason in self.held if reason))


@dataclass(frozen=True)
class _Row:
    stamp_ns: int
    action: Action
    state: npt.NDArray[np.float64]
    reply: Reply | None
    held: str | None


class VirtualBridge:
    """One world's loop; `run` goes on where the last one ended. World and client stay open.

    Args:
        world: at its beginning.
        client: the policy host.
        sink: takes the replies, as in real time; one without actuator if None.
        frame_latency_s: from a frame's exposure until the client has it.
        reply_latency_s: from a hop's newest sample until the command that follows from it is given. In real time it
            is some milliseconds, so that the command misses the next hop's beginning and acts a hop later than at 0.
        dtype: of the samples in each hop, float16 or float32.
        settle: called after frames were handed over; returns once the client's replies follow from them.

    Raises:
        InputError: a latency is negative.
    """

    def __init__(
        self,
        world: World,
        client: PolicyClient,
        sink: LimitingSink | None = None,
        *,
        frame_latency_s: float = 0.0,
        reply_latency_s: float = 0.0,
        dtype: npt.DTypeLike = np.float16,
        settle: Callable[[], None] | None = None,
    ) -> None:
        if min(frame_latency_s, reply_latency_s) < 0:
            raise InputError("is negative", where="latency", remedy="give 0 or more seconds")
        self._world, self._client, self._settle = world, client, settle
        self._actions = world.robot.actions
        self._sink = sink or LimitingSink(self._actions)
        self._frame_ns, self._reply_ns = round(frame_latency_s * 1e9), round(reply_latency_s * 1e9)
        self._dtype, self._sensor = dtype, world.robot.sensors[0]
        self._seq = 0
        self._exposed = dict.fromkeys((camera.name for camera in world.robot.cameras), 0)
        self._frames: deque[tuple[int, Frame]] = deque()  # on their way, by the time they arrive
        self._commands: deque[tuple[int, Action]] = deque()
        self._acting = Limits.of(self._actions).at_rest(np.zeros(self._actions.dim))

    def run(self, seconds: float, on_hop: Callable[[Hop, Reply | None], None] | None = None) -> VirtualLog:
        """Go on for `seconds` of virtual time, or until the episode is over; `on_hop` sees every hop and its reply."""
        rows: list[_Row] = []
        for _ in range(round(seconds * self._sensor.rate_hz / self._sensor.hop_samples)):
            if self._world.done:
                break
            rows.append(self._go_on(on_hop))
        return VirtualLog(
            stamps_ns=np.array([row.stamp_ns for row in rows], np.int64),
            actions=np.array([row.action for row in rows]).reshape(len(rows), self._actions.dim),
            states=np.array([row.state for row in rows], np.float64).reshape(len(rows), len(self._world.state())),
            ready=np.array([row.reply is not None and row.reply.ready for row in rows], np.bool_),
            held=tuple(row.held for row in rows),
            flags=tuple(row.reply.flags if row.reply else () for row in rows),
        )

    def _go_on(self, on_hop: Callable[[Hop, Reply | None], None] | None) -> _Row:
        begins_ns, newest = self._due_ns(self._seq), self._seq + self._sensor.hop_samples - 1
        while self._commands and self._commands[0][0] <= begins_ns:
            self._acting = self._commands.popleft()[1]
        stamp_ns = self._due_ns(newest)
        self._expose(stamp_ns)
        hop = Hop(self._seq, stamp_ns, self._world.step(self._acting).astype(self._dtype))
        self._seq = newest + 1
        reply, held = self._answer(hop)
        if on_hop:
            on_hop(hop, reply)
        return _Row(stamp_ns, self._acting, self._world.state(), reply, held)

    def _answer(self, hop: Hop) -> tuple[Reply | None, str | None]:
        arrived = False
        while self._frames and self._frames[0][0] <= hop.stamp_ns:
            self._client.send_frame(self._frames.popleft()[1])
            arrived = True
        if arrived and self._settle:
            self._settle()
        reply = self._client.send_hop(hop)
        if reply is None:
            return None, None
        given_ns = hop.stamp_ns + self._reply_ns
        applied = self._sink.apply(reply, given_ns)
        self._commands.append((given_ns, applied.action))
        return reply, applied.held

    def _expose(self, until_ns: int) -> None:
        """Take the frames that are due before the world is at its next pose, at `until_ns`."""
        taken = []
        for camera in self._world.robot.cameras:
            while (due_ns := round(self._exposed[camera.name] * 1e9 / camera.rate_hz)) < until_ns:
                image = self._world.frame(camera.name)
                taken.append(Frame(camera.name, due_ns, encode_frame(image, camera)))
                self._exposed[camera.name] += 1
        taken.sort(key=lambda frame: frame.stamp_ns)
        self._frames += [(frame.stamp_ns + self._frame_ns, frame) for frame in taken]

    def _due_ns(self, seq: int) -> int:
        return round(seq * 1e9 / self._sensor.rate_hz)
