"""The ground under a walk, as a height over distance: flat, then stairs or a slope from `start_m` on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.simulation.exo_walk.walk import Walk

Floats = npt.NDArray[np.float64]
TERRAIN_STEPS = 12  # steps that are walked on the terrain; the stairs have as many treads and some more
STAIRS = 16


@dataclass(frozen=True)
class Ground:
    """kind "flat", "stairs" or "slope"; `rise_m` of a tread is negative going down; `slope_rad` is positive uphill."""

    kind: str
    start_m: float
    rise_m: float = 0.0
    run_m: float = 1.0
    slope_rad: float = 0.0

    def height(self, x_m: npt.ArrayLike) -> Floats:
        """Height of the ground at each place, m."""
        along = np.asarray(x_m, np.float64) - self.start_m
        if self.kind == "stairs":
            treads: Floats = np.clip(np.floor(along / self.run_m) + 1, 0, STAIRS)
            return self.rise_m * treads
        height: Floats = np.maximum(along, 0.0) * np.tan(self.slope_rad)
        return height

    def pitch(self, x_m: npt.ArrayLike) -> Floats:
        """How the ground is tilted at each place, rad about +y: negative uphill."""
        pitch: Floats = np.where(np.asarray(x_m) > self.start_m, -self.slope_rad, 0.0)
        return pitch


def ground(walk: Walk) -> Ground:
    """The ground of a walk."""
    if walk.terrain.startswith("stairs"):
        rise = walk.rise_m if walk.terrain == "stairs_up" else -walk.rise_m
        return Ground("stairs", walk.start_m, rise_m=rise, run_m=walk.run_m)
    if walk.slope_deg > 0:
        return Ground("slope", walk.start_m, slope_rad=float(np.deg2rad(walk.slope_deg)))
    return Ground("flat", walk.start_m)
