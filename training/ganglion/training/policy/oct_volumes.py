"""Recorded OCT volumes as training data: which pose has the needle that a window of A-scans shows?

Volumes are split once, by a fixed seed; the test part is only ever scored on. A training volume is seen through rasters
that start anywhere, and moved: by voxels, and by as many millimeters in its pose as the training volumes themselves
say a voxel is (a least-squares fit of where the needle's image lies to the poses).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.normalization import Normalization
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.simulation.oct_replay import (
    DEPTH_BINS,
    RASTER_SAMPLES,
    SIDE,
    OctVolume,
    oct_robot,
    read_volume,
    scan,
    split_volumes,
    volume_paths,
)
from ganglion.training.policy.batch import Batch
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.source import sensor_batch
from ganglion.training.policy.statistics import action_scale, sensor_scale, statistics_of

READS, READ_HOPS = 2, 12
_HELD_BACK_READS, _HELD_BACK_READ_HOPS = 10, 5
_LATERAL_SHIFT, _DEPTH_SHIFT = 5.0, 24  # voxels, the most that a training volume is moved
_BRIGHT, _TIP_VOXELS, _TIP_DEPTH = 128, 20, 30

Floats = npt.NDArray[np.float64]


class OctSource:
    """Pose estimation from A-scans; see Source.

    Raises:
        InputError: a volume can't be read, or there are too few.
    """

    vl: BackboneFacts | None = None

    def __init__(self, config: PolicyTrainConfig) -> None:
        self.robot = oct_robot()
        self._config, self._batch_size, self._sensor = config, config.batch_size, self.robot.sensors[0]
        folder = Path(config.folders[0])
        paths = {path.name: path for path in volume_paths(folder)}
        parts = split_volumes(list(paths))
        self._train = [read_volume(paths[name]) for name in parts["train"]]
        self._parts = {part: [read_volume(paths[name]) for name in parts[part]] for part in ("validation", "test")}
        self._mm_per_voxel = _mm_per_voxel(self._train)
        numbers = np.arange(0, RASTER_SAMPLES, 7, dtype=np.int64)
        self.norm = Normalization(
            sensor_scale(statistics_of(np.concatenate([scan(v, numbers) for v in self._train])), self._sensor),
            action_scale(statistics_of(np.stack([volume.pose for volume in self._train])), self.robot.actions),
        )
        # Reflections inside the scanner stay where they are when the needle moves.
        self._steady = np.median(
            np.concatenate([scan(volume, numbers)[:, -DEPTH_BINS:] for volume in self._train]), axis=0
        )
        self.facts: dict[str, Any] = {"data": "OCT volumes", "volumes": dict(parts)}

    def batch(self, number: int) -> Batch:
        """See Source."""
        rng = np.random.default_rng([self._config.seed, 3, number])
        volumes = [self._train[index] for index in rng.integers(len(self._train), size=self._batch_size)]
        moved = [self._moved(volume, rng) for volume in volumes]
        return self._batch(moved, rng.integers(RASTER_SAMPLES, size=len(moved)), READS, READ_HOPS)

    def weight(self, number: int) -> float:
        """See Source."""
        return float(self._batch_size)

    def held_back(self, part: str = "test") -> Iterator[Batch]:
        """See Source: each volume of the part, read at places all around the raster."""
        for volume in self._parts[part]:
            still = (volume, (0.0, 0.0), 0)
            yield self._batch([still], np.zeros(1, np.int64), _HELD_BACK_READS, _HELD_BACK_READ_HOPS)

    def _moved(self, volume: OctVolume, rng: np.random.Generator) -> tuple[OctVolume, tuple[float, float], int]:
        """The volume with the pose of a needle moved by some voxels, and by which to scan it so: lateral, depth."""
        row, column = rng.uniform(-_LATERAL_SHIFT, _LATERAL_SHIFT, 2)
        depth = int(rng.integers(-_DEPTH_SHIFT, _DEPTH_SHIFT + 1))
        pose = volume.pose.copy()
        pose[:3] += self._mm_per_voxel @ np.array([row, column, depth])
        return replace(volume, pose=pose), (row, column), depth

    def _batch(
        self,
        volumes: list[tuple[OctVolume, tuple[float, float], int]],
        firsts: npt.NDArray[np.int64],
        reads: int,
        read_hops: int,
    ) -> Batch:
        hop, window = self._sensor.hop_samples, self._sensor.window_samples
        numbers = np.arange(window + (reads - 1) * read_hops * hop, dtype=np.int64)
        samples, poses = [], []
        for (volume, start, depth), first in zip(volumes, firsts, strict=True):
            scanned = scan(volume, numbers + first, start)
            if depth:
                scanned[:, -DEPTH_BINS:] = self._steady + _deeper(scanned[:, -DEPTH_BINS:] - self._steady, depth)
            samples.append(scanned)
            poses.append(volume.pose)
        ends = tuple(window // hop + read * read_hops for read in range(reads))
        actions = np.repeat(np.stack(poses)[:, None, None], reads, axis=1)
        return sensor_batch(self.norm, self._sensor, np.stack(samples), ends, actions)


def _deeper(scans: npt.NDArray[np.float32], voxels: int) -> npt.NDArray[np.float32]:
    """(count, bins) moved down by some voxels; 0 where nothing was recorded."""
    out = np.zeros_like(scans)
    if voxels > 0:
        out[:, voxels:] = scans[:, :-voxels]
    else:
        out[:, :voxels] = scans[:, -voxels:]
    return out


def _mm_per_voxel(volumes: list[OctVolume]) -> Floats:
    """How far the needle is displaced per voxel (row, column, depth) that its image moves: (3, 3) mm.

    On the public data the fit explains 99 % of where the tip is seen: 13 rows, 20 columns, 176 depth voxels per mm.
    """
    tips = np.stack([_tip(volume) for volume in volumes])
    poses = np.stack([volume.pose for volume in volumes]).astype(np.float64)
    design = np.c_[poses, np.ones(len(poses))]
    voxels_per_unit = np.linalg.lstsq(design, tips, rcond=None)[0][:3].T
    millimeters: Floats = np.linalg.pinv(voxels_per_unit)
    return millimeters


def _tip(volume: OctVolume) -> Floats:
    """Where the needle ends, voxels (row, column, depth): the deepest place with much light, and its lateral center."""
    bright = volume.data > _BRIGHT
    bright &= bright.mean((0, 1)) < 0.3  # not the reflections inside the scanner: whole planes at one depth
    light = np.convolve(bright.sum((0, 1)), np.ones(9) / 9, mode="same")
    deepest = int(np.flatnonzero(light > _TIP_VOXELS).max(initial=0))
    end = bright[:, :, max(deepest - _TIP_DEPTH, 0) : deepest + 1]
    row, column = (
        np.average(np.arange(n), weights=end.sum(axes) + 1e-9) for n, axes in ((SIDE, (1, 2)), (SIDE, (0, 2)))
    )
    return np.array([row, column, deepest])
