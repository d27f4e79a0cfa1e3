"""The gait that the wearer means to walk: a plan over time that obeys the mechanics of the whole body.

Feet follow their footholds. The hips are as high as straight-enough legs allow, smoothly. The center of mass moves so
that the ground's reaction passes through the planned centers of pressure: with height z, center of pressure p and
spin L about the center of mass,

    (z - p_z) x'' = (x - p_x) (z'' + g) - L' / m

which is the linear inverted pendulum (Kajita et al. 2001) with height and spin kept; solved as one boundary value
problem over the walk, repeated as hips, spin and center of mass follow from one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.simulation.exo_walk.body import Body
from ganglion.simulation.exo_walk.curves import ease, lower_envelope, smooth
from ganglion.simulation.exo_walk.feet import RATE_HZ, Feet, feet
from ganglion.simulation.exo_walk.footsteps import Footsteps
from ganglion.simulation.exo_walk.ground import Floats, Ground
from ganglion.simulation.exo_walk.skeleton import balance, posture

GRAVITY = 9.81
_STRETCH = 0.987  # of the straight leg: 18 degrees of knee flexion where the leg is longest
_BOB_S, _CROUCH_S = 0.12, 0.35
_ROUNDS = 4
_SMOOTHING_S = 0.02


@dataclass(frozen=True)
class Gait:
    """The plan at 650 Hz.

    q, velocity, acceleration   (times, 9) coordinates of the model
    feet                        where the feet are and how they share the load
    pressure_x, pressure_z      (times,) center of pressure of both feet together, m
    force_x, force_z            (times,) the ground's reaction, N
    """

    q: Floats
    velocity: Floats
    acceleration: Floats
    feet: Feet
    pressure_x: Floats
    pressure_z: Floats
    force_x: Floats
    force_z: Floats


def gait(steps: Footsteps, ground: Ground, body: Body, lean_rad: float) -> Gait:
    """Plan a walk over `steps`, its trunk upright at first and leaning by `lean_rad` on the terrain."""
    plan = feet(steps, ground, body)
    count = len(plan.stance)
    times = steps.land_s[1] + np.arange(count) / RATE_HZ
    trunk = 0.05 + (lean_rad - 0.05) * ease((times - steps.land_s[steps.on_terrain] + 0.6) / 1.2)
    p_x, p_z = _pressure(plan, steps, body)
    offset_x, spin_rate = np.zeros(count), np.zeros(count)
    com_x = smooth(p_x, 0.25 * RATE_HZ)
    for _ in range(_ROUNDS):
        hip_x = com_x - offset_x
        hip_z = _hip_height(hip_x, plan, body)
        q = posture(hip_x, hip_z, trunk, plan, body)
        state = balance(q, body, RATE_HZ)
        offset_x = state.x - hip_x
        spin_rate = smooth(np.gradient(state.spin) * RATE_HZ, 0.01 * RATE_HZ)
        lift = _second(smooth(state.z, _SMOOTHING_S * RATE_HZ)) + GRAVITY
        com_x = _pendulum(p_x, lift / (state.z - p_z), spin_rate / (body.mass_kg * (state.z - p_z)))
    q = smooth(q, 0.006 * RATE_HZ)
    state = balance(q, body, RATE_HZ)
    return Gait(
        q=q,
        velocity=np.gradient(q, axis=0) * RATE_HZ,
        acceleration=_second(q),
        feet=plan,
        pressure_x=p_x,
        pressure_z=p_z,
        force_x=body.mass_kg * _second(state.x),
        force_z=body.mass_kg * (_second(state.z) + GRAVITY),
    )


def _pressure(plan: Feet, steps: Footsteps, body: Body) -> tuple[Floats, Floats]:
    """The center of pressure: what lies under the feet, weighted by the load they carry."""
    x, z = np.zeros(len(plan.stance)), np.zeros(len(plan.stance))
    times = steps.land_s[1] + np.arange(len(plan.stance)) / RATE_HZ
    for side in (0, 1):
        holds = np.arange(side, len(steps.x_m), 2)
        hold = holds[np.maximum(np.searchsorted(steps.land_s[holds], times, side="right") - 1, 0)]
        along = body.heel_m + (body.ball_m - body.heel_m) * plan.ball_share[:, side]
        x += plan.share[:, side] * (steps.x_m[hold] + along * np.cos(steps.pitch_rad[hold]))
        z += plan.share[:, side] * (steps.z_m[hold] - along * np.sin(steps.pitch_rad[hold]))
    return x, z


def _hip_height(hip_x: Floats, plan: Feet, body: Body) -> Floats:
    """As high as both legs reach, rising and falling no faster than a walker's: what is too high sinks slowly."""
    reach = _STRETCH * body.leg_m
    span = np.clip(np.abs(plan.ankle_x - hip_x[:, None]), 0.0, 0.9 * reach)
    limit = (plan.ankle_z + np.sqrt(reach**2 - span**2)).min(axis=1)
    swing = smooth(limit, _BOB_S * RATE_HZ)
    return swing + lower_envelope(np.minimum(limit - swing, 0.0), round(_CROUCH_S * RATE_HZ))


def _pendulum(p_x: Floats, stiffness: Floats, spin: Floats) -> Floats:
    """Solve x'' = stiffness (x - p_x) - spin with x = p_x, averaged, at both ends (Thomas algorithm)."""
    step = 1 / RATE_HZ
    start, end = float(p_x[:200].mean()), float(p_x[-200:].mean())
    diagonal = (-2 - step**2 * stiffness).tolist()
    right = (-(step**2) * (stiffness * p_x + spin)).tolist()
    upper, value = [0.0], [start]
    for d, r in zip(diagonal[1:-1], right[1:-1], strict=True):
        pivot = d - upper[-1]
        upper.append(1 / pivot)
        value.append((r - value[-1]) / pivot)
    x = [end]
    for u, v in zip(reversed(upper), reversed(value), strict=True):
        x.append(v - u * x[-1])
    return np.array(x[::-1])


def _second(values: Floats) -> Floats:
    second: Floats = np.gradient(np.gradient(values, axis=0), axis=0) * RATE_HZ**2
    return second
