"""One robot at a policy: hops and frames in, action chunks out.

What a session does when the data is not as it should be:

    flag         what was seen                                      what happens
    gap          sequence numbers that don't follow on              state forgotten, warming begins anew
    warming      fewer frames than the receptive field since then   not ready
    nonfinite    NaN, infinite or absurd values                     count as the training mean; this reply not ready
    no_frame     no VL features yet                                 not ready
    stale_frame  features older than any that training showed       the age given to the policy ends at that of
                                                                    training; beyond `hold_after_ms` not ready
    bad_frame    the newest frames could not be encoded             older features stay in use and age

A reply that is not ready carries a chunk of zeros.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.images import upright_size
from ganglion.core.manifest import PolicyPart
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.normalization import Normalization
from ganglion.core.specs import CameraSpec, RobotSpec
from ganglion.serving.policy.sensor_stream import SensorStream
from ganglion.serving.policy.vl_encoder import VlFeatures
from ganglion.serving.policy.vl_refresh import VlRefresh, VlRequest

_SAMPLE_TYPES = (np.dtype(np.float16), np.dtype(np.float32))


@dataclass(frozen=True)
class SharedParts:
    """What all sessions of an engine share.

    head           session of action_head.onnx
    encoder        session of sensor_stream.onnx
    refresh        None for a robot without cameras
    hold_after_ms  age of VL features beyond which a robot must hold
    """

    robot: RobotSpec
    norm: Normalization
    part: PolicyPart
    encoder: Any
    head: Any
    refresh: VlRefresh | None
    hold_after_ms: float


class PolicySession:
    """A `core.messages.PolicyClient` in this process. Made by `PolicyEngine.session`.

    `send_hop` and `prime` belong to one thread; frames and the instruction may come from others.
    """

    def __init__(self, shared: SharedParts, instruction: str) -> None:
        self._shared, self._instruction = shared, instruction
        self._sensor, self._actions = shared.robot.sensors[0], shared.robot.actions
        self._cameras = {camera.name: camera for camera in shared.robot.cameras}
        assert shared.norm.sensor is not None  # open_bundle saw to it
        # A chunk is decided only once all that the expert reads was recorded.
        self._recorded = np.ones((1, shared.part.read_frames, len(self._sensor.groups)), np.float32)
        self._stream = SensorStream(
            shared.encoder,
            shared.norm.sensor,
            self._sensor.hop_samples,
            shared.part.read_frames,
            self._sensor.window_frames,
        )
        self._oldest_trained_ms = float(shared.part.config.get("vl_age_ms", (0.0, np.inf))[1])
        self._next_seq: int | None = None
        self._noticed: set[str] = set()
        self._frames: dict[str, Frame] = {}
        self._features: VlFeatures | None = None
        self._bad_frame: InputError | None = None
        self._closed = False

    @property
    def frame_error(self) -> InputError | None:
        """Why the newest frames could not be encoded, while replies are flagged "bad_frame"; else None."""
        return self._bad_frame

    def set_instruction(self, instruction: str) -> None:
        """Name the goal in words; takes effect with the next frame."""
        self._instruction = instruction

    def send_frame(self, frame: Frame) -> None:
        """Hand over a frame and return at once; encoded once every camera has sent one, the newest of each wins.

        Raises:
            InputError: the robot has no such camera, or the frame is no image of its size.
        """
        self._check_open()
        if frame.camera not in self._cameras:
            raise InputError(
                f"has no camera {frame.camera!r}",
                where=f"robot {self._shared.robot.name}",
                remedy=f"send frames of {sorted(self._cameras)}",
            )
        _check_image(frame, self._cameras[frame.camera])
        self._frames[frame.camera] = frame
        frames = tuple(self._frames[name] for name in self._cameras if name in self._frames)
        if self._shared.refresh and len(frames) == len(self._cameras):
            self._shared.refresh.submit(id(self), VlRequest(frames, self._instruction, self._deliver))

    def settle(self) -> None:
        """Wait until the newest frames are encoded, so that the next reply follows from them.

        For loops that must repeat to the bit, as on a virtual clock; a robot never waits.
        """
        self._check_open()
        if self._shared.refresh:
            self._shared.refresh.settle(id(self))

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
            InputError: the samples have another shape or type than the spec says.
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
        if self._shared.refresh:
            self._shared.refresh.forget(id(self))

    def _begin(self, hop: Hop) -> None:
        self._stream.reset()
        self._next_seq = hop.first_seq

    def _aligned(self, hop: Hop) -> Hop:
        """The samples after a gap without those that would make hops end between a sender's messages ever after."""
        skipped = len(hop.samples) % self._sensor.hop_samples
        return Hop(hop.first_seq + skipped, hop.stamp_ns, hop.samples[skipped:])

    def _take(self, hop: Hop, timings_ms: dict[str, float]) -> int:
        frames, usable = self._stream.push(hop.samples, timings_ms)
        self._next_seq = hop.first_seq + len(hop.samples)
        if not usable:
            self._noticed.add("nonfinite")
        return frames

    def _reply(self, hop: Hop, timings_ms: dict[str, float]) -> Reply:
        assert self._next_seq is not None
        start = time.perf_counter()
        waiting = self._stream.waiting
        stamp_ns = hop.stamp_ns - round(waiting * 1e9 / self._sensor.rate_hz)
        flags, self._noticed = self._noticed, set()
        ready = "nonfinite" not in flags
        if self._stream.frames_seen < self._shared.part.receptive_frames:
            flags.add("warming")
            ready = False
        features, vl_age_ms = self._features, None
        if self._bad_frame:
            flags.add("bad_frame")
        if self._cameras and features is None:
            flags.add("no_frame")
            ready = False
        elif features is not None:
            vl_age_ms = max(0.0, (stamp_ns - features.exposed_ns) / 1e6)
            if vl_age_ms > self._oldest_trained_ms:
                flags.add("stale_frame")
            ready &= vl_age_ms <= self._shared.hold_after_ms
            timings_ms["vl_encoder"] = features.encode_ms
        chunk = self._decide(features, vl_age_ms) if ready else np.zeros((self._actions.horizon, self._actions.dim))
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

    def _decide(self, features: VlFeatures | None, vl_age_ms: float | None) -> npt.NDArray[np.float32]:
        """(horizon, dim) in units."""
        feeds: dict[str, Any] = {"frames": self._stream.newest_frames, "present": self._recorded}
        if features is not None and vl_age_ms is not None:
            age_s = np.array([min(vl_age_ms, self._oldest_trained_ms) / 1e3], np.float32)
            feeds |= {"vl_features": features.features, "vl_mask": features.mask, "vl_age_s": age_s}
        (actions,) = self._shared.head.run(None, feeds)
        return self._shared.norm.action.denormalize(actions[0])

    def _deliver(self, found: VlFeatures | InputError) -> None:
        """Called by a refresh thread; what it assigns is read once per hop."""
        if isinstance(found, VlFeatures):
            self._features, self._bad_frame = found, None
        else:
            self._bad_frame = found

    def _check(self, hop: Hop) -> None:
        self._check_open()
        samples, channels = hop.samples, self._sensor.channels
        if samples.ndim != 2 or samples.shape[1] != channels or samples.dtype not in _SAMPLE_TYPES:
            raise InputError(
                f"samples are {samples.dtype} {samples.shape}",
                where=f"sensor {self._sensor.name}",
                remedy=f"send float16 or float32 (n, {channels})",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise GanglionError("is closed", where="policy session", remedy="open a new one")


def _check_image(frame: Frame, camera: CameraSpec) -> None:
    """Look at the header only: decoding is the refresh threads' work."""
    try:
        with Image.open(io.BytesIO(frame.jpeg)) as image:
            size = upright_size(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"frame is no image ({reason:.80})", where=f"camera {camera.name}") from None
    if size != (camera.width, camera.height):
        raise InputError(
            f"frame is {size[0]} x {size[1]} pixels, the spec says {camera.width} x {camera.height}",
            where=f"camera {camera.name}",
            remedy="scale it at the source",
        )
