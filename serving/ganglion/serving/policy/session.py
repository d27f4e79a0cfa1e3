"""One robot at a policy: hops and frames in, action chunks out.

What a session does when the data is not as it should be:

    flag         what was seen                                      what happens
    gap          sequence numbers that don't follow on              what the stream carried is forgotten, warming anew
    warming      fewer frames than the receptive field since then   not ready
    nonfinite    NaN, infinite or absurd values                     those of a sample count as the training mean; this
                                                                    reply not ready
    no_state     a hop without the state that the policy reads      not ready
    no_frame     no VL features yet                                 not ready
    stale_frame  features older than any that training showed       the age given to the policy ends at that of
                                                                    training; beyond `hold_after_ms` not ready
    bad_frame    the newest frames could not be encoded             older features stay in use and age

A reply that is not ready carries a chunk of zeros. The state is that of the message which made the hop whole; none
is kept for a later one. A policy that reads no sensor has nothing to warm; samples are its ticks, and it answers each
hop of them, or each row (1, 0) of a robot that has no sensor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.hop_check import check_hop
from ganglion.core.manifest import PolicyPart
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec
from ganglion.serving.policy.action_head import ActionHead
from ganglion.serving.policy.sensor_stream import LARGEST, SensorStream
from ganglion.serving.policy.sight import Sight
from ganglion.serving.policy.ticks import Ticks
from ganglion.serving.policy.vl_refresh import VlRefresh

_HOLD = {"warming", "nonfinite", "no_state", "no_frame"}


@dataclass(frozen=True)
class SharedParts:
    """What all sessions of an engine share.

    encoder        session of sensor_stream.onnx; None for a policy that reads no sensor
    refresh        None for a robot without cameras
    hold_after_ms  age of VL features beyond which a robot must hold
    """

    robot: RobotSpec
    norm: Normalization
    part: PolicyPart
    encoder: Any
    head: ActionHead
    refresh: VlRefresh | None
    hold_after_ms: float


class PolicySession:
    """A `core.messages.PolicyClient` in this process. Made by `PolicyEngine.session`.

    `send_hop` and `prime` belong to one thread; frames and the instruction may come from others.
    """

    def __init__(self, shared: SharedParts, instruction: str) -> None:
        self._shared, self._instruction = shared, instruction
        self._sensor = shared.robot.sensors[0] if shared.robot.sensors else None
        self._hop_samples = self._sensor.hop_samples if self._sensor else 1
        self._stream = self._open_stream()
        self._sight = Sight(shared.robot, shared.refresh)
        self._next_seq: int | None = None
        self._noticed: set[str] = set()
        self._closed = False

    @property
    def frame_error(self) -> InputError | None:
        """Why the newest frames could not be encoded, while replies are flagged "bad_frame"; else None."""
        return self._sight.error

    def set_instruction(self, instruction: str) -> None:
        """Name the goal in words; takes effect with the next frame."""
        self._instruction = instruction

    def send_frame(self, frame: Frame) -> None:
        """Hand over a frame and return at once; encoded once every camera has sent one, the newest of each wins.

        Raises:
            InputError: the robot has no such camera, or the frame is no image of its size.
        """
        self._check_open()
        self._sight.show(frame, self._instruction)

    def settle(self) -> None:
        """Wait until the newest frames are encoded, so that the next reply follows from them.

        For loops that must repeat to the bit, as on a virtual clock; a robot never waits.
        """
        self._check_open()
        self._sight.settle()

    def prime(self, hop: Hop) -> None:
        """Begin anew from recorded samples, at best a whole window: afterwards no warming is left to do.

        Raises:
            InputError: as `send_hop`.
        """
        self._check(hop)
        self._begin(hop)
        self._take(hop, {})

    def send_hop(self, hop: Hop) -> Reply | None:
        """Hand over samples and get the chunk that follows from all so far; None while no new hop is whole.

        Raises:
            InputError: the samples or the state have another shape or type than the spec says.
        """
        self._check(hop)
        timings_ms: dict[str, float] = {}
        if self._next_seq is None:
            self._begin(hop)
        elif hop.first_seq != self._next_seq:
            self._noticed.add("gap")
            hop = self._aligned(hop)
            self._begin(hop)
        if not self._take(hop, timings_ms):
            return None
        return self._reply(hop, timings_ms)

    def close(self) -> None:
        """End the session. Harmless when called twice."""
        self._closed = True
        self._sight.close()

    def _open_stream(self) -> SensorStream | Ticks:
        scale = self._shared.norm.sensor
        if self._sensor is None or scale is None:
            return Ticks(self._hop_samples)
        return SensorStream(self._shared.encoder, scale, self._sensor, self._shared.part)

    def _begin(self, hop: Hop) -> None:
        self._stream.reset()
        self._next_seq = hop.first_seq

    def _aligned(self, hop: Hop) -> Hop:
        """The samples after a gap without those that would make hops end between a sender's messages ever after."""
        skipped = len(hop.samples) % self._hop_samples
        return replace(hop, first_seq=hop.first_seq + skipped, samples=hop.samples[skipped:])

    def _take(self, hop: Hop, timings_ms: dict[str, float]) -> int:
        hops, usable = self._stream.push(hop.samples, timings_ms)
        self._next_seq = hop.first_seq + len(hop.samples)
        if not usable:
            self._noticed.add("nonfinite")
        return hops

    def _reply(self, hop: Hop, timings_ms: dict[str, float]) -> Reply:
        assert self._next_seq is not None
        start = time.perf_counter()
        waiting = self._stream.waiting
        stamp_ns = hop.stamp_ns - (round(waiting * 1e9 / self._sensor.rate_hz) if self._sensor else 0)
        flags, self._noticed = self._noticed, set()
        if not self._stream.warm:
            flags.add("warming")
        state = self._known(hop, flags)
        seen, vl_age_ms = self._sight.features, None
        if self._sight.error:
            flags.add("bad_frame")
        if seen is not None:
            vl_age_ms = max(0.0, (stamp_ns - seen.exposed_ns) / 1e6)
            if vl_age_ms > self._shared.head.oldest_trained_ms:
                flags.add("stale_frame")
            timings_ms["vl_encoder"] = seen.encode_ms
        elif self._shared.robot.cameras:
            flags.add("no_frame")
        ready = not flags & _HOLD and (vl_age_ms is None or vl_age_ms <= self._shared.hold_after_ms)
        if ready:
            chunk = self._shared.head.decide(self._stream.newest_frames, seen, vl_age_ms, state)
        else:
            chunk = np.zeros((self._shared.robot.actions.horizon, self._shared.robot.actions.dim), np.float32)
        timings_ms["head"] = 1e3 * (time.perf_counter() - start)
        return Reply(
            chunk.astype(np.float32, copy=False),
            last_seq=self._next_seq - 1 - waiting,
            stamp_ns=stamp_ns,
            ready=ready,
            vl_age_ms=vl_age_ms,
            flags=tuple(sorted(flags)),
            timings_ms=timings_ms,
        )

    def _known(self, hop: Hop, flags: set[str]) -> npt.NDArray[np.float32] | None:
        """What the robot says of itself, (dim,) normalized; None where the policy doesn't read it or it isn't known."""
        scale = self._shared.norm.state
        if scale is None:
            return None
        if hop.state is None:
            flags.add("no_state")
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            state = scale.normalize(hop.state)
            if not (np.abs(state) < LARGEST).all():  # False for NaN, too
                flags.add("nonfinite")
        return state

    def _check(self, hop: Hop) -> None:
        self._check_open()
        check_hop(hop, self._shared.robot)

    def _check_open(self) -> None:
        if self._closed:
            raise GanglionError("is closed", where="policy session", remedy="open a new one")
