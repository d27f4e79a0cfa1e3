"""The planar skeleton in closed form: joint angles from hip and ankle, and from angles the centers of mass.

Angles about +y (x ahead, z up), so a positive one tips forward. Coordinates are those of the model: x and z of the hip,
trunk pitch, then hip flexion, knee flexion and ankle dorsiflexion of the left leg and of the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.simulation.exo_walk.body import Body, Segment
from ganglion.simulation.exo_walk.feet import Feet
from ganglion.simulation.exo_walk.ground import Floats

COORDINATES = 9


def posture(hip_x: Floats, hip_z: Floats, trunk: Floats, feet: Feet, body: Body) -> Floats:
    """(times, 9) coordinates that put both ankles and soles where `feet` says (two-link inverse kinematics)."""
    columns = [hip_x, hip_z, trunk]
    for side in (0, 1):
        dx, dz = feet.ankle_x[:, side] - hip_x, feet.ankle_z[:, side] - hip_z
        a, b = body.thigh_m, body.shank_m
        bend = (dx**2 + dz**2 - a**2 - b**2) / (2 * a * b)
        knee = np.arccos(np.clip(bend, -1.0, 1.0))
        thigh = np.arctan2(-dx, -dz) - np.arctan2(b * np.sin(knee), a + b * np.cos(knee))
        columns += [trunk - thigh, knee, thigh + knee - feet.pitch[:, side]]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Balance:
    """Center of mass (times,) m and spin (times,), the angular momentum about it in kg m2/s about +y."""

    x: Floats
    z: Floats
    spin: Floats


def balance(q: Floats, body: Body, rate_hz: float) -> Balance:
    """Where the center of mass is and how the body spins about it, of coordinates (times, 9)."""
    parts = _segments(q, body)
    mass = sum(part.mass_kg for part, *_ in parts)
    x = sum(part.mass_kg * px for part, px, _, _ in parts) / mass
    z = sum(part.mass_kg * pz for part, _, pz, _ in parts) / mass
    spin = np.zeros(len(q))
    for part, px, pz, angle in parts:
        vx, vz, turn = (np.gradient(value) * rate_hz for value in (px - x, pz - z, angle))
        spin += part.inertia_kgm2 * turn + part.mass_kg * ((pz - z) * vx - (px - x) * vz)
    return Balance(np.asarray(x), np.asarray(z), spin)


def _segments(q: Floats, body: Body) -> list[tuple[Segment, Floats, Floats, Floats]]:
    """Each segment with its center's x and z and its angle."""
    x, z, trunk = q[:, 0], q[:, 1], q[:, 2]
    parts = [_place(body.trunk, x, z, trunk)]
    for leg in (q[:, 3:6], q[:, 6:9]):
        thigh = trunk - leg[:, 0]
        shank = thigh + leg[:, 1]
        foot = shank - leg[:, 2]
        knee_x, knee_z = x - body.thigh_m * np.sin(thigh), z - body.thigh_m * np.cos(thigh)
        ankle_x, ankle_z = knee_x - body.shank_m * np.sin(shank), knee_z - body.shank_m * np.cos(shank)
        parts.append(_place(body.thigh, x, z, thigh))
        parts.append(_place(body.shank, knee_x, knee_z, shank))
        parts.append(_place(body.foot, ankle_x, ankle_z, foot))
    return parts


def _place(part: Segment, x: Floats, z: Floats, angle: Floats) -> tuple[Segment, Floats, Floats, Floats]:
    cx, cz = part.center_m
    cos, sin = np.cos(angle), np.sin(angle)
    return part, x + cx * cos + cz * sin, z - cx * sin + cz * cos, angle
