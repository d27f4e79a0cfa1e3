"""Each terrain walked once without assistance, and what was seen on the way; all tests of the package share it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported
os.environ.setdefault("LP_NUM_THREADS", "1")
pytest.importorskip("mujoco", reason="the exo walk needs MuJoCo")

from ganglion.core.tasks.exo_rules import TERRAINS
from ganglion.simulation.exo_walk import draw_walk, exo_walk_robot
from ganglion.simulation.exo_walk.robot import SOLES
from ganglion.simulation.exo_walk.world import ExoWalk

SEED = 3


@dataclass(frozen=True)
class Recording:
    """One walk: the world at its end, samples (times, 16), and each hop's coordinates and sole centers (x, z)."""

    world: ExoWalk
    samples: npt.NDArray[np.float32]
    q: npt.NDArray[np.float64]
    soles: npt.NDArray[np.float64]


@cache
def record(terrain: str) -> Recording:
    world = ExoWalk(draw_walk(SEED, terrain), exo_walk_robot())
    ids = [world.model.geom(name).id for name in SOLES]
    samples, q, soles = [], [], []
    while not world.done:
        samples.append(world.step(np.zeros(4)))
        q.append(world.data.qpos.copy())
        soles.append(world.data.geom_xpos[ids][:, ::2].copy())
    return Recording(world, np.concatenate(samples), np.array(q), np.array(soles))


@pytest.fixture(params=list(TERRAINS))
def walked(request: pytest.FixtureRequest) -> Recording:
    return record(request.param)


@pytest.fixture
def walked_on() -> Callable[[str], Recording]:
    return record


@pytest.fixture
def level() -> Recording:
    return record("flat")


@pytest.fixture
def offscreen() -> None:
    """Skip where nothing can be rendered at all, which is not this package's fault."""
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception as error:
        pytest.skip(f"no offscreen rendering here ({error})")
