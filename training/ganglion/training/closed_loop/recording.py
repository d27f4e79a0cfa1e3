"""Recorded walks in which a device helps by its own law: what a policy learns that law from, from readings alone.

The percent asked for wanders over its whole range, so that one walk shows many; the state holds it.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.core.tasks.exo_assistance import RATE_PERCENT_S
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS
from ganglion.simulation.exo_walk import Assist, draw_walk, exo_walk_robot
from ganglion.simulation.exo_walk.world import HOP, ExoWalk
from ganglion.training.closed_loop.walks import REST_S
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.episode_set import EpisodeSet, SetWriter, create_set, is_set
from ganglion.training.demonstrations.simulated import record

FIRST_SEED = 500_000  # of walks to learn from: those to be tested on have lower ones
_NOISE_NM = 1.0
_WANTED_S = (1.0, 4.0)  # how long a percent is wanted; it may take longer to get there
_STREAM = 0x9A1F


def record_walks(folder: Path, count: int) -> None:
    """Bring a set to `count` walks; goes on where it was interrupted. Walks on which the wearer falls are left out."""
    if not is_set(folder):
        create_set(folder, _blind(), {"kind": "exo_walk", "law": "Assist"})
    held, seed = _held(folder)
    writer = SetWriter(folder)
    with tqdm(total=count, initial=held, desc="recording", unit="walk", disable=None) as bar:
        while held < count:
            if episode := record_walk(seed):
                writer.add(episode)
                bar.update()
                held += 1
            seed += 1


def _held(folder: Path) -> tuple[int, int]:
    """How many walks are there, and the seed to go on with."""
    try:
        episodes = EpisodeSet(folder)
    except InputError:
        return 0, FIRST_SEED
    return len(episodes), int(episodes[len(episodes) - 1].session) + 1


def record_walk(seed: int) -> Episode | None:
    """The walk of a seed with help that wanders; None if the wearer falls."""
    with closing(ExoWalk(draw_walk(seed), _blind())) as world:
        first, last = world.walked
        device, wanted = Assist(world.walk), _Wandering(seed)

        def act() -> npt.NDArray[np.float64]:
            world.set_assistance(wanted.next())
            return device.torque(world.felt, world.state())

        hops = (last - first) // HOP
        try:
            return record(
                world,
                act,
                seconds=hops / 50 - REST_S,
                instruction="help the wearer walk",
                session=str(seed),
                noise=lambda: _NOISE_NM,
                seed=seed,
                rest_s=REST_S,
            )
        except InputError:
            if world.fallen:
                return None
            raise


def _blind() -> RobotSpec:
    return replace(exo_walk_robot(), cameras=())


class _Wandering:
    """A percent that goes to one drawn value after another as fast as assistance may change."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, _STREAM])
        self._percent, self._wanted, self._left = 0.0, 0.0, 0

    def next(self) -> float:
        """The percent of the next hop."""
        if not self._left:
            self._wanted = float(self._rng.uniform(*ASSISTANCE_LIMITS))
            self._left = round(float(self._rng.uniform(*_WANTED_S)) * 50)
        self._left -= 1
        most = RATE_PERCENT_S / 50
        self._percent += min(max(self._wanted - self._percent, -most), most)
        return self._percent
