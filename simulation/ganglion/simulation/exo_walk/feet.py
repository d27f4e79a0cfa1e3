"""How each foot moves through its footholds: heel strike, flat, roll over the ball, swing.

In stance the foot rolls on its heel until it is flat and over its ball from heel-off on (on stairs down it lands on the
ball); contact points don't move along the ground. In swing a quintic leads to the next foothold, with clearance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.simulation.exo_walk.body import SOLE_RADIUS_M, Body
from ganglion.simulation.exo_walk.curves import ease, lower_envelope, reach, smooth
from ganglion.simulation.exo_walk.footsteps import Footsteps
from ganglion.simulation.exo_walk.ground import Floats, Ground

RATE_HZ = 650.0
_SMOOTHING_S = 0.012
_FLAT_SHARE, _HEEL_OFF_SHARE = 0.2, 0.62  # of stance: when the foot is flat, and when the heel lifts
_LAST_TILT = {"flat": 0.7, "slope": 0.7, "stairs up": 0.55, "stairs down": 0.55}  # rad at toe-off
_LANDING_TILT = {"flat": -0.25, "slope": -0.12, "stairs up": 0.0, "stairs down": 0.25}  # rad, negative: toes up
_PRESS_M = 0.003  # that a standing sole is meant to be below the ground, so that it does touch
_CLEARANCE_M, _EDGE_M = 0.012, 0.022  # of a swinging sole from the ground and from an edge
_LIFTING_S = 0.12
_BUMP_M = {"flat": 0.02, "slope": 0.03, "stairs up": 0.05, "stairs down": 0.03}
# When in a swing the foot goes ahead and when it goes up or down, as shares of it: up first, or down last.
_TIMING = {"stairs up": (0.2, 1.0, 0.0, 0.65), "stairs down": (0.0, 0.85, 0.3, 1.0)}


@dataclass(frozen=True)
class Feet:
    """Both feet over time, arrays (times, 2), left first.

    ankle_x, ankle_z  m
    pitch             rad about +y, negative with the toes up
    stance            whether the foot is planned to stand
    share             of the load that it carries
    ball_share        of that load, how much the ball carries and not the heel
    """

    ankle_x: Floats
    ankle_z: Floats
    pitch: Floats
    stance: Floats
    share: Floats
    ball_share: Floats


def feet(steps: Footsteps, ground: Ground, body: Body) -> Feet:
    """Both feet at 650 Hz, from the second foothold's landing to the last one's."""
    times = np.arange(steps.land_s[1], steps.land_s[-1], 1 / RATE_HZ)
    sides = [_foot(side, times, steps, ground, body) for side in (0, 1)]
    ankle_x, ankle_z, pitch, stance, share, ball = (np.stack(rows, axis=1) for rows in zip(*sides, strict=True))
    share[:, 0] = np.where(stance[:, 1] == 0, 1.0, np.where(stance[:, 0] == 0, 0.0, share[:, 0]))
    share[:, 1] = 1 - share[:, 0]
    sigma = _SMOOTHING_S * RATE_HZ
    return Feet(smooth(ankle_x, sigma), smooth(ankle_z, sigma), smooth(pitch, sigma), stance, share, ball)


def _kind(ground: Ground, steps: Footsteps, k: int) -> str:
    if k < steps.on_terrain or ground.kind == "flat":
        return "flat"
    if ground.kind == "slope":
        return "slope"
    return "stairs up" if ground.rise_m > 0 else "stairs down"


def _foot(side: int, times: Floats, steps: Footsteps, ground: Ground, body: Body) -> tuple[Floats, ...]:
    rows = np.zeros((6, len(times)))
    holds = range(side, len(steps.x_m), 2)
    for k in holds:
        kind = _kind(ground, steps, k)
        inside = (times >= steps.land_s[k]) & (times < steps.leave_s[k])
        at = times[inside]
        rows[:3, inside] = _stance(at, k, kind, steps, body)
        since = (at - steps.land_s[k]) / (steps.leave_s[k] - steps.land_s[k])
        loading = (steps.leave_s[k - 1] - steps.land_s[k]) if k else 1e-3
        last = steps.land_s[k + 1] if k + 1 < len(steps.x_m) else steps.leave_s[k]
        unloading = max(steps.leave_s[k] - last, 1e-3)
        rows[3, inside] = 1.0
        rows[4, inside] = _loaded((at - steps.land_s[k]) / loading) * _loaded((steps.leave_s[k] - at) / unloading)
        rows[5, inside] = _ball_share(since, kind)
        if k + 2 < len(steps.x_m):
            swinging = (times >= steps.leave_s[k]) & (times < steps.land_s[k + 2])
            rows[:3, swinging] = _swing(times[swinging], k, _kind(ground, steps, k + 2), kind, steps, ground, body)
    return tuple(rows)


def _loaded(share: Floats) -> Floats:
    """0 to 1 through double support: sooner than at a foot's pace, as a foot that lands is loaded at once."""
    s = np.clip(share, 0.0, 1.0)
    loaded: Floats = s * s * (3 - 2 * s)
    return loaded


def _ball_share(since: Floats, kind: str) -> Floats:
    """The center of pressure runs from heel to ball while the foot is flat; landing on the ball, it dips back."""
    forward = np.clip((since - _FLAT_SHARE) / (_HEEL_OFF_SHARE - _FLAT_SHARE), 0, 1)
    if kind == "stairs down":
        return 1 - 0.5 * np.sin(np.pi * forward) ** 2
    share: Floats = 0.02 + 0.96 * forward
    return share


def _tilt(since: Floats, kind: str) -> Floats:
    landing = _LANDING_TILT[kind] * (1 - ease(since / _FLAT_SHARE))
    rolled = np.clip((since - _HEEL_OFF_SHARE) / (1 - _HEEL_OFF_SHARE), 0, 1)
    lifting = _LAST_TILT[kind] * rolled**2 * (2 - rolled)
    tilt: Floats = landing + lifting
    return tilt


def _stance(at_s: Floats, k: int, kind: str, steps: Footsteps, body: Body) -> Floats:
    """(3, times) ankle x, ankle z, pitch at foothold k."""
    tilt = _tilt((at_s - steps.land_s[k]) / (steps.leave_s[k] - steps.land_s[k]), kind)
    pivot = np.where(tilt > 0, body.ball_m, body.heel_m)
    # The sole's spheres roll: their center moves along the ground by the radius times the tilt.
    along = pivot + SOLE_RADIUS_M * tilt - pivot * np.cos(tilt) + (body.foot_height_m - SOLE_RADIUS_M) * np.sin(tilt)
    above = SOLE_RADIUS_M - _PRESS_M + pivot * np.sin(tilt) + (body.foot_height_m - SOLE_RADIUS_M) * np.cos(tilt)
    slope = steps.pitch_rad[k]
    x = steps.x_m[k] + along * np.cos(slope) + above * np.sin(slope)
    z = steps.z_m[k] - along * np.sin(slope) + above * np.cos(slope)
    return np.stack([x, z, tilt + slope])


def _swing(at_s: Floats, k: int, kind: str, from_kind: str, steps: Footsteps, ground: Ground, body: Body) -> Floats:
    """(3, times) from foothold k to k + 2."""
    start_s, end_s = steps.leave_s[k], steps.land_s[k + 2]
    ends = _stance(np.array([start_s, start_s - 1e-4]), k, from_kind, steps, body)
    start, velocity = ends[:, 0], (ends[:, 0] - ends[:, 1]) / 1e-4
    end = _stance(np.array([end_s]), k + 2, kind, steps, body)[:, 0]
    seconds, since = end_s - start_s, at_s - start_s
    x_from, x_to, z_from, z_to = _TIMING.get(kind, (0.0, 1.0, 0.0, 1.0))
    x = reach(start[0], velocity[0], end[0], seconds * x_to, since)
    if x_from > 0:
        x = start[0] + (end[0] - start[0]) * ease((since / seconds - x_from) / (x_to - x_from))
        x += reach(0.0, velocity[0], 0.0, seconds, since)
    z = start[1] + (end[1] - start[1]) * ease((since / seconds - z_from) / (z_to - z_from))
    z += reach(0.0, velocity[1], 0.0, seconds, since)
    share = np.clip(since / seconds, 0.0, 1.0)
    z += _BUMP_M[kind] * 6.75 * share**2 * (1 - share)  # still sinking at the end: a foot lands, it doesn't graze
    pitch = reach(start[2], velocity[2], end[2], seconds, since)
    inside = ease(since / _LIFTING_S) * ease((end_s - at_s) / _LIFTING_S)
    missing = _CLEARANCE_M * inside + _lowest(x, pitch, ground, body) - z
    lift = -lower_envelope(-np.maximum(missing, 0.0), round(_LIFTING_S / 2 * RATE_HZ)) * inside
    return np.stack([x, z + lift, pitch])


def _lowest(x: Floats, pitch: Floats, ground: Ground, body: Body) -> Floats:
    """How low the ankle can be with both soles on or above the ground, and edges kept at a distance."""
    down = body.foot_height_m - SOLE_RADIUS_M
    lowest = np.full(len(x), -np.inf)
    for sole in (body.heel_m, body.ball_m):
        place = x + sole * np.cos(pitch) - down * np.sin(pitch)
        under = np.max([ground.height(place + side) for side in (-_EDGE_M, 0.0, _EDGE_M)], axis=0)
        lowest = np.maximum(lowest, under + SOLE_RADIUS_M + sole * np.sin(pitch) + down * np.cos(pitch))
    return lowest
