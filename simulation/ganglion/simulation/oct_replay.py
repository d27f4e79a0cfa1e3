"""Recorded OCT volumes of a needle as a sample stream: A-scans in raster order at 650 Hz, with the needle's pose.

Reads the 3D OCT pose data of Laves et al. (MIDL 2020, github.com/mlaves/3doct-pose-dataset): one .npz per volume, data
uint8 (512 depth, 64, 64) and pos float64 (6,), the pose of the hexapod that holds the needle.

A volume has 4096 A-scans, 6.3 s at 650 Hz. The stream scans a sparse raster instead, 25 rows of 26 A-scans spread over
the whole field: one raster is 650 samples, one second, one window. The scanner goes round and round, so a window holds
a whole raster wherever it starts; each sample carries the mirror's position, as a scanner's controller knows it.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec, ChannelGroup, RobotSpec, SensorSpec

Array = npt.NDArray[np.float32]

DEPTH_BINS, SIDE = 512, 64
ROWS, COLUMNS = 25, 26
RASTER_SAMPLES = ROWS * COLUMNS
FIELD_MM = 3.0  # "approx. 3 x 3 x 3 mm", the data set's README
_SPLIT_SEED = 650
_SPLIT_SHARES = {"test": 0.2, "validation": 0.1}


@dataclass(frozen=True)
class OctVolume:
    """One recording.

    data  (64, 64, 512) uint8, an A-scan is data[row, column]
    pose  (6,) float32: x, y, z and three rotations, in oct_robot's units
    """

    name: str
    data: npt.NDArray[np.uint8]
    pose: Array


def oct_robot() -> RobotSpec:
    """What the recordings came from: mirror position and A-scan in, the needle's pose out; no camera.

    The data set names no units. Millimeters fit (the needle's image moves about 170 depth voxels, 1 mm, per unit of z)
    and the rotations, 0 to 8, are taken for degrees, the hexapod's own unit.
    """
    return RobotSpec(
        name="oct_needle",
        cameras=(),
        sensors=(
            SensorSpec(
                "oct",
                (ChannelGroup("mirror", 2, "mm"), ChannelGroup("a_scan", DEPTH_BINS, "gray level")),
                rate_hz=650.0,
                window_samples=RASTER_SAMPLES,
            ),
        ),
        actions=ActionSpec(
            names=("x", "y", "z", "rx", "ry", "rz"),
            units=("mm", "mm", "mm", "deg", "deg", "deg"),
            low=(-1.0, -1.0, -1.0, -10.0, -10.0, -10.0),
            high=(2.0, 2.0, 2.0, 20.0, 20.0, 20.0),
            max_rate=(1e3, 1e3, 1e3, 1e4, 1e4, 1e4),  # an estimate may jump when the scanner meets another needle
            rate_hz=50.0,
            horizon=1,
        ),
    )


def volume_paths(folder: Path) -> list[Path]:
    """The volumes in a folder, sorted by name.

    Raises:
        InputError: there is no such folder, or it holds no .npz file.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, remedy="give a folder of OCT volumes (.npz)")
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError("holds no .npz file", where=folder, remedy="give a folder of OCT volumes")
    return paths


def read_volume(path: Path) -> OctVolume:
    """Read one volume; nothing is unpickled.

    Raises:
        InputError: the file is damaged, lacks a key, or an array has another shape, type, or is not finite.
    """
    remedy = "remove the file or copy it again"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if missing := {"data", "pos"} - set(arrays):
                raise InputError(f"has no array {min(missing)!r}", where=path, remedy="give data and pos")
            data, pose = arrays["data"], arrays["pos"]
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"can't be read ({reason:.80})", where=path, remedy=remedy) from None
    if data.shape != (DEPTH_BINS, SIDE, SIDE) or data.dtype != np.uint8:
        expected = f"uint8 {(DEPTH_BINS, SIDE, SIDE)}"
        raise InputError(f"data is {data.dtype} {data.shape}, expected {expected}", where=path, remedy=remedy)
    if pose.shape != (6,) or pose.dtype.kind not in "fiu" or not np.isfinite(pose).all():
        raise InputError("pos is not 6 finite numbers", where=path, remedy=remedy)
    return OctVolume(path.name, np.ascontiguousarray(data.transpose(1, 2, 0)), pose.astype(np.float32))


def split_volumes(names: Sequence[str]) -> Mapping[str, list[str]]:
    """Share volumes out, by a fixed seed, to "train", "validation" and "test" (70, 10 and 20 percent).

    Raises:
        InputError: there are too few for each part to get one.
    """
    order = np.random.default_rng(_SPLIT_SEED).permutation(sorted(names)).tolist()
    parts: dict[str, list[str]] = {}
    for part, share in _SPLIT_SHARES.items():
        count = round(share * len(names))
        parts[part], order = sorted(order[:count]), order[count:]
    parts["train"] = sorted(order)
    if not all(parts.values()):
        raise InputError(f"{len(names)} volumes are too few to split", remedy="give at least 5")
    return parts


def scan(volume: OctVolume, numbers: npt.NDArray[np.int64], moved: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Samples of those numbers while the scanner goes round one volume: (count, 2 + 512) float32.

    Args:
        volume: what lies under the scanner.
        numbers: sample numbers; every RASTER_SAMPLES the raster starts anew.
        moved: rows and columns of voxels by which the volume is displaced under the scanner; what was not recorded
            reads as the nearest that was.
    """
    row = np.rint(numbers // COLUMNS % ROWS * ((SIDE - 1) / (ROWS - 1)))
    column = np.rint(numbers % COLUMNS * ((SIDE - 1) / (COLUMNS - 1)))
    out = np.empty((len(numbers), 2 + DEPTH_BINS), np.float32)
    out[:, 0] = (row / (SIDE - 1) - 0.5) * FIELD_MM
    out[:, 1] = (column / (SIDE - 1) - 0.5) * FIELD_MM
    under = (
        np.rint(where - by).clip(0, SIDE - 1).astype(np.int64) for where, by in zip((row, column), moved, strict=True)
    )
    out[:, 2:] = volume.data[tuple(under)]
    return out


class OctReplay:
    """Volumes one after another, each scanned for a while, round and round.

    Args:
        folder: of .npz volumes.
        names: file names to stream, in that order; None for the held-back "test" part of the folder.
        rasters_per_volume: rasters (windows, seconds) until the next volume.

    Raises:
        InputError: the folder or a volume can't be read.
    """

    def __init__(self, folder: Path | str, names: Sequence[str] | None = None, rasters_per_volume: int = 2) -> None:
        folder = Path(folder)
        if names is None:
            names = split_volumes([path.name for path in volume_paths(folder)])["test"]
        self.volumes = [read_volume(folder / name) for name in names]
        if not self.volumes or rasters_per_volume < 1:
            raise InputError("nothing to stream", where=folder, remedy="name a volume and give at least 1 raster")
        self._dwell = rasters_per_volume * RASTER_SAMPLES

    @staticmethod
    def spec() -> RobotSpec:
        """The robot whose stream this is."""
        return oct_robot()

    def sample(self, index: int) -> Array:
        """Sample number `index`: (channels,) float32 in the sensor's units."""
        sample: Array = self.samples(index, 1)[0]
        return sample

    def samples(self, first: int, count: int) -> Array:
        """Samples `first` to `first + count - 1`: (count, channels) float32."""
        numbers = np.arange(first, first + count, dtype=np.int64)
        out = np.empty((count, 2 + DEPTH_BINS), np.float32)
        turn = numbers // self._dwell % len(self.volumes)
        for index in np.unique(turn):
            out[turn == index] = scan(self.volumes[index], numbers[turn == index])
        return out

    def pose(self, index: int) -> Array:
        """The needle's pose while sample `index` is taken: (6,) float32, x y z in mm and three rotations in deg."""
        return self.volumes[index // self._dwell % len(self.volumes)].pose

    def settled(self, index: int) -> bool:
        """Whether the window that ends with sample `index` lies in one volume, so that a pose estimate is due."""
        return index % self._dwell >= RASTER_SAMPLES - 1
