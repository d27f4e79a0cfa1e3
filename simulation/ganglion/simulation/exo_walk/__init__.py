"""A wearer with an exoskeleton on five terrains; the world is `exo_walk.world.ExoWalk`, which needs MuJoCo."""

import os

from ganglion.simulation.exo_walk.assist import Assist
from ganglion.simulation.exo_walk.effort import Effort, Summary
from ganglion.simulation.exo_walk.robot import exo_walk_robot
from ganglion.simulation.exo_walk.walk import Walk, draw_walk

__all__ = ["Assist", "Effort", "Summary", "Walk", "draw_walk", "exo_walk_robot"]

# Rendering without a display; read when mujoco is first imported, as modules of this package do.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "1")
