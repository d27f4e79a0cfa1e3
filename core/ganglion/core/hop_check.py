"""Whether a hop fits a robot: asked by the robot's side before it is sent, and by the host before it is used."""

from __future__ import annotations

import numpy as np

from ganglion.core.errors import InputError
from ganglion.core.messages import Hop
from ganglion.core.specs import RobotSpec

_MOST_TICKS = 100  # at once, of a robot without a sensor: two seconds of a control loop at 50 Hz
SAMPLE_TYPES = (np.dtype(np.float16), np.dtype(np.float32))


def check_length(hop: Hop, robot: RobotSpec) -> None:
    """See that a message has no more samples than can matter: what a stranger sends at once, others wait for.

    Raises:
        InputError: they are more than two windows, or than two seconds of ticks.
    """
    most = 2 * robot.sensors[0].window_samples if robot.sensors else _MOST_TICKS
    if len(hop.samples) > most:
        raise InputError(
            f"holds {len(hop.samples)} samples",
            where="policy request",
            remedy=f"send at most {most}; no chunk depends on more than a window",
        )


def check_hop(hop: Hop, robot: RobotSpec) -> None:
    """See whether samples and state are of the robot's shapes.

    Raises:
        InputError: they have another shape or type than the spec says.
    """
    sensor, samples = robot.sensors[0] if robot.sensors else None, hop.samples
    channels = sensor.channels if sensor else 0
    if samples.ndim != 2 or samples.shape[1] != channels or samples.dtype not in SAMPLE_TYPES:
        raise InputError(
            f"samples are {samples.dtype} {samples.shape}",
            where=f"sensor {sensor.name}" if sensor else f"robot {robot.name}",
            remedy=f"send float16 or float32 (n, {channels})",
        )
    if hop.state is None:
        return
    dim = robot.state.dim if robot.state else 0
    if hop.state.shape != (dim,) or hop.state.dtype != np.float32 or not dim:
        raise InputError(
            f"state is {hop.state.dtype} {hop.state.shape}",
            where=f"robot {robot.name}",
            remedy=f"send float32 ({dim},)" if dim else "send none: its spec has no state",
        )
