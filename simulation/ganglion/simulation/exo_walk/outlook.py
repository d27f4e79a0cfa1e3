"""What a frame of the forward camera shows: which terrain lies ahead, or none that can be told.

The terrain of a walk is ahead

- under foot, if the hip is past its beginning and it goes on for another stretch at least: two treads, or 0.6 m;
- in view, if the end of its first stretch is at most `NEAR_M` ahead of the hip, within the picture's upper and lower
  edge, and no ground lies before it (the treads of stairs down hide behind the first edge from afar).

Anything else is ambiguous: the ground in the picture could be any terrain's. Level ground is always what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.simulation.exo_walk.ground import STAIRS, Ground

NEAR_M = 3.0
_SLOPE_STRETCH_M = 0.6
_BETWEEN = 200  # places on a line of sight that are compared with the ground


@dataclass(frozen=True)
class View:
    """A camera that looks ahead: its place (m) and, as angles above level (rad), its axis and half its field."""

    x_m: float
    z_m: float
    axis_rad: float
    half_field_rad: float

    def shows(self, ground: Ground, x_m: float) -> bool:
        """Whether the ground at `x_m` is in the picture and nothing is before it."""
        z = float(ground.height(x_m))
        if x_m <= self.x_m or abs(np.arctan2(z - self.z_m, x_m - self.x_m) - self.axis_rad) > self.half_field_rad:
            return False
        share = np.linspace(0.0, 1.0, _BETWEEN, endpoint=False)
        sight = self.z_m + share * (z - self.z_m)
        return bool((sight >= ground.height(self.x_m + share * (x_m - self.x_m))).all())


def terrain_ahead(terrain: str, ground: Ground, hip_x_m: float, view: View) -> str | None:
    """`terrain` if that is what lies ahead, None where a frame is ambiguous.

    Args:
        terrain: of the walk.
        ground: of the walk.
        hip_x_m: where the wearer is.
        view: of the camera.
    """
    if ground.kind == "flat":
        return terrain
    stairs, within = ground.kind == "stairs", hip_x_m - ground.start_m
    stretch = 2 * ground.run_m - 0.001 if stairs else _SLOPE_STRETCH_M  # to just before the next riser
    if within > 0:
        goes_on = not stairs or within + stretch < STAIRS * ground.run_m
        return terrain if goes_on else None
    far = ground.start_m + stretch
    return terrain if far - hip_x_m <= NEAR_M and view.shows(ground, far) else None
