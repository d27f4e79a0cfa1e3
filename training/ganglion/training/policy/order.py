"""The order in which moments are met: exact for any number of processes.

An epoch meets every moment without a sensor once. Those with a sensor are repeated until they have the share that was
asked for: all of them equally often, and in each epoch another random part of them once more.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError


class Order:
    """Which moment comes at each position of training, epoch after epoch.

    Args:
        recorded: (M,) bool, moments with a sensor.
        sensor_share: share of positions that go to moments with a sensor; None takes them as they come.
        seed: with the epoch's number it fixes the order.

    Raises:
        InputError: the share is out of range, or there are no moments to give it to.
    """

    def __init__(self, recorded: npt.NDArray[np.bool_], sensor_share: float | None, seed: int) -> None:
        self._recorded, self._others, self._seed = np.flatnonzero(recorded), np.flatnonzero(~recorded), seed
        self._draws = len(self._recorded)
        if sensor_share is not None:
            if not 0 < sensor_share < 1:
                raise InputError(f"--sensor_share is {sensor_share}", remedy="give a number between 0 and 1")
            if not (len(self._recorded) and len(self._others)):
                missing = "with" if len(self._others) else "without"
                raise InputError(f"--sensor_share is {sensor_share}, but no episode is {missing} a sensor")
            self._draws = max(1, round(sensor_share / (1 - sensor_share) * len(self._others)))
        self.epoch_length = len(self._others) + self._draws
        self._epoch = functools.lru_cache(2)(self._make_epoch)

    def __getitem__(self, position: int) -> int:
        """The moment at a position, counted through all epochs."""
        epoch, at = divmod(position, self.epoch_length)
        return int(self._epoch(epoch)[at])

    def _make_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, 7, epoch])
        whole, rest = divmod(self._draws, max(1, len(self._recorded)))
        drawn = [self._recorded] * whole + [rng.permutation(self._recorded)[:rest]]
        return rng.permutation(np.concatenate([self._others, *drawn]))
