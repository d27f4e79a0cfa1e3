"""Images for exo_assist rows as the camera of a walking wearer sees them: frames of ganglion.simulation.exo_walk.

Each image is of a walk of its own: another wearer, ground, light and camera, in a posture of the planned gait. Moments
at which the terrain ahead can't be told are not taken; ganglion.simulation.exo_walk.outlook has the rule.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
from PIL import Image

from ganglion.core.errors import MissingExtra
from ganglion.training.data.exo.rows import terrain_of

LARGEST_SIZE = 480
FIRST_SEED = 1_000_000  # of walks to learn from: those to be tested on have lower ones
_LAST_SEED = 1 << 31
_STREAM = 0xE40


def walk_image(seed: int, index: int, size: int) -> Image.Image:
    """Image number `index`, (size, size) RGB: of the terrain that `rows.terrain_of` says.

    Raises:
        MissingExtra: MuJoCo is not installed.
        GanglionError: nothing can be rendered on this machine.
    """
    try:
        from ganglion.simulation.exo_walk import draw_walk, exo_walk_robot
        from ganglion.simulation.exo_walk.world import ExoWalk
    except ImportError as error:
        raise MissingExtra(error.name or "mujoco", "sim") from None
    rng = np.random.default_rng([seed, index, _STREAM])
    robot = exo_walk_robot()
    (camera,) = robot.cameras
    sized = replace(robot, cameras=(replace(camera, height=size, width=size),))
    walk = draw_walk(int(rng.integers(FIRST_SEED, _LAST_SEED)), terrain_of(index))
    with closing(ExoWalk(walk, sized)) as world:
        first, last = world.walked
        while True:
            world.show(world.gait.q[rng.integers(first, last)])
            if world.terrain_ahead() is not None:
                return Image.fromarray(world.frame())
