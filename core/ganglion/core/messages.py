"""What a robot and a server say to each other, and the protocol a policy host answers with.

A robot sends hops (not windows) and frames; the host replies with an action chunk, the age of the VL features it used,
what it noticed, and its own timings. The same messages serve the in-process host and, later, every remote one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Hop:
    """The samples sent at once.

    samples   (n, channels) float16 or float32, in the sensor's units; n is usually the spec's hop_samples. A robot
              without a sensor sends (1, 0) whenever it wants a chunk
    first_seq sequence number of samples[0]; sample numbers grow by one at the source and never restart
    stamp_ns  monotonic time at the source of the newest sample
    state     (dim,) float32, the robot's newest reading of itself, in the units of `RobotSpec.state`; None where there
              is none
    """

    first_seq: int
    stamp_ns: int
    samples: npt.NDArray[np.floating]
    state: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Frame:
    """One camera image at the model's size. stamp_ns: monotonic time of the exposure at the source."""

    camera: str
    stamp_ns: int
    jpeg: bytes


@dataclass(frozen=True)
class Reply:
    """The host's answer to a hop.

    chunk       (horizon, dim) float32 in the action spec's units; row 0 is due at stamp_ns
    last_seq    newest sample that the chunk is based on
    stamp_ns    source stamp of that sample
    ready       False while the encoder has not seen a whole receptive field, no VL features exist or they are too
                old, a state that is read is missing, or samples or state were not finite: the robot must hold, not act
    vl_age_ms   age of the VL features at stamp_ns, from the frame's exposure; None for a policy without cameras
    flags       what was noticed: "gap", "warming", "no_frame", "stale_frame", "bad_frame", "no_state",
                "nonfinite"
    timings_ms  the host's own legs, by name
    """

    chunk: npt.NDArray[np.float32]
    last_seq: int
    stamp_ns: int
    ready: bool
    vl_age_ms: float | None
    flags: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)


class PolicyClient(Protocol):
    """One robot's line to a policy host. Implementations: the in-process session; remote clients."""

    def set_instruction(self, instruction: str) -> None:
        """Name the goal in words; takes effect with the next frame."""

    def send_frame(self, frame: Frame) -> None:
        """Hand over a camera frame and return at once; the newest frame wins, hops never wait for it."""

    def send_hop(self, hop: Hop) -> Reply | None:
        """Hand over samples and get the chunk; None while fewer than one whole hop is buffered.

        Raises:
            InputError: the samples or the state have another shape or type than the spec says.
        """

    def close(self) -> None:
        """End the session and free what it holds; harmless when called twice."""
