"""What an expert would command: the targets of imitation, a function of the state at the chunk's first row alone.

Each row is what remains to do if the rows before it were carried out and the world stood still, so a chunk decays.

    vx, vy   close the mark's lateral offset                      seen by the camera only
    wx, wy   tilt a little toward the mark                        seen by the camera only
    vz       back off while the contact force is above its limit  felt by the force channel only
    feed     advance until the tip lightly pushes the interface   A-scan while there is a gap, force on contact
    wz       rest: the needle is symmetric about its axis
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec
from ganglion.simulation.a_scan import contact_force
from ganglion.simulation.needle_world import Floats, NeedleState

LATERAL_GAIN_HZ = 1.5
TILT_RAD_PER_MM = 0.02
FEED_GAIN_HZ = 2.0
TARGET_PUSH_MM = 0.15
FORCE_LIMIT_NEWTONS = 0.4
RETREAT_MM_PER_NEWTON = 2.0

# Action name -> (gain in 1/s, what is left to do in the action's unit times seconds).
_LEFT_TO_DO: Mapping[str, tuple[float, Callable[[NeedleState], Floats]]] = {
    "vx": (LATERAL_GAIN_HZ, lambda s: s.mark_x_mm),
    "vy": (LATERAL_GAIN_HZ, lambda s: s.mark_y_mm),
    "vz": (FEED_GAIN_HZ, lambda s: RETREAT_MM_PER_NEWTON * _excess_newtons(s)),
    "wx": (LATERAL_GAIN_HZ, lambda s: -TILT_RAD_PER_MM * s.mark_y_mm),
    "wy": (LATERAL_GAIN_HZ, lambda s: TILT_RAD_PER_MM * s.mark_x_mm),
    "wz": (LATERAL_GAIN_HZ, lambda s: np.zeros_like(s.gap_mm)),
    "feed": (FEED_GAIN_HZ, lambda s: s.gap_mm - s.push_mm + TARGET_PUSH_MM),
}


def expert_chunks(spec: ActionSpec, state: NeedleState) -> npt.NDArray[np.float32]:
    """Chunks for states at (times,): (times, horizon, dim) float32 in the spec's units, within its limits.

    Raises:
        InputError: the spec names an action that the needle robot doesn't have.
    """
    rows_s = np.arange(spec.horizon) / spec.rate_hz
    chunks = np.zeros((len(state.gap_mm), spec.horizon, spec.dim))
    for dim, name in enumerate(spec.names):
        if name not in _LEFT_TO_DO:
            raise InputError(
                "the synthetic needle has no such action",
                where=f"action {name}",
                remedy=f"use some of {list(_LEFT_TO_DO)}",
            )
        gain, left = _LEFT_TO_DO[name]
        chunks[:, :, dim] = gain * left(state)[:, None] * np.exp(-gain * rows_s)
    return np.clip(chunks, spec.low, spec.high).astype(np.float32)


def _excess_newtons(state: NeedleState) -> Floats:
    return np.maximum(contact_force(state.push_mm) - FORCE_LIMIT_NEWTONS, 0.0)
