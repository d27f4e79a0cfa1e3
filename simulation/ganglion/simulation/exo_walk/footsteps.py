"""Where and when each foot lands: a flat approach whose steps are fitted to the terrain's start, then the terrain.

Foothold k belongs to the left foot if k is even. The step length of level walking follows from speed by the walk ratio,
step length over cadence, which is nearly the same at all usual speeds (Sekiya and Nagasaki 1998). Terrier and Schutz
(2003) measured 0.0068 m/(steps/min); ours is a little less, as our pelvis doesn't turn to lengthen the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.simulation.exo_walk.body import Body
from ganglion.simulation.exo_walk.ground import TERRAIN_STEPS, Floats, Ground
from ganglion.simulation.exo_walk.walk import Walk

_WALK_RATIO = 0.006
_OFF_RISER_M, _FROM_EDGE_M = 0.03, 0.025
_EASING = 3  # steps of the approach over which length and time change to those of the terrain


@dataclass(frozen=True)
class Footsteps:
    """Footholds in order, each array (steps,).

    x_m, z_m     the ground under the ankle
    pitch_rad    the ground's tilt there about +y
    land_s       when the foot touches, the first at 0
    leave_s      when it lifts again
    on_terrain   index of the first foothold on the terrain
    """

    x_m: Floats
    z_m: Floats
    pitch_rad: Floats
    land_s: Floats
    leave_s: Floats
    on_terrain: int


def footsteps(walk: Walk, ground: Ground, body: Body) -> Footsteps:
    """Plan the footholds of a walk."""
    level = _walk_step(walk)
    length, time = _terrain_step(walk, ground)
    middle = (body.heel_m + body.ball_m) / 2  # of the sole ahead of the ankle
    # On stairs the sole lies in the middle of the tread, a little off the riser that a foot must pass next.
    spare = (ground.run_m - (body.ball_m - body.heel_m)) / 2 - _FROM_EDGE_M
    onto = middle + float(np.sign(ground.rise_m)) * min(spare, _OFF_RISER_M) if ground.kind == "stairs" else 0.0
    first = ground.start_m + length / 2 - onto
    approach = first - length  # the last foothold before the terrain
    count = max(_EASING + 1, round(approach / level[0]))
    blend = np.clip((np.arange(count) - (count - _EASING)) / _EASING, 0, 1)
    lengths = (1 - blend) * level[0] + blend * length
    lengths *= approach / lengths.sum()
    lengths = np.concatenate([lengths, np.full(TERRAIN_STEPS, length)])
    times = np.concatenate([(1 - blend) * level[1] + blend * time, np.full(TERRAIN_STEPS, time)])
    x = np.concatenate([[0.0], np.cumsum(lengths)])
    land = np.concatenate([[0.0], np.cumsum(times)])
    double = 2 * (walk.stance_share - 0.5) * np.append(times, times[-1])
    leave = np.append(land[1:], land[-1] + times[-1]) + np.append(double[1:], double[-1])
    return Footsteps(x, ground.height(x), ground.pitch(x), land, leave, count + 1)


def _walk_step(walk: Walk) -> tuple[float, float]:
    """Length (m) and time (s) of a step at the walk's speed on level ground."""
    speed = walk.speed_m_s
    length = float(np.sqrt(60 * speed * _WALK_RATIO))
    return length, length / speed


def _terrain_step(walk: Walk, ground: Ground) -> tuple[float, float]:
    """Distance forward (m) and time (s) of a step on the terrain."""
    if ground.kind == "stairs":
        return ground.run_m, walk.step_time_s
    length, time = _walk_step(walk)
    return length * float(np.cos(ground.slope_rad)), time
