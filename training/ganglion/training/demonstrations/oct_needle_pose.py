"""OCT volumes of a needle as demonstrations: what a scanner that goes round and round feels, and the needle's pose.

Each volume is scanned for two rasters, two seconds, at 650 Hz; from the end of the first on, each hop has the pose as
its action. So each window has a whole raster, and they begin all around it.

A session is an hour of recording. The public volumes are of one night, with one needle in one setup; their poses were
drawn at random, but the setup drifts: what a linear fit of the tip's depth to the poses leaves, 4.5 voxels, is
correlated by 0.89 between volumes ten minutes apart and by 0.58 after seventy. A split by volume would hide that.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ganglion.core.errors import InputError
from ganglion.simulation.oct_replay import RASTER_SAMPLES, oct_robot, read_volume, scan, volume_paths
from ganglion.training.demonstrations.episode import Episode, Stream
from ganglion.training.demonstrations.recordings import Recordings, RecordingsRequest

_RASTERS = 2
_INSTRUCTION = "Tell the pose of the needle."
_FIRST_YEAR, _LAST_YEAR = 2000, 2100  # file names outside are no times


def oct_needle_pose(request: RecordingsRequest) -> Recordings:
    """The volumes of a folder, by name.

    Raises:
        InputError: there is no such folder, or no volume in it.
    """
    paths = volume_paths(request.source)
    source = {
        "kind": "oct_needle_pose",
        "name": "3D OCT pose data of Laves et al., MIDL 2020",
        "notes": [
            f"stamps: {RASTER_SAMPLES} A-scans of each volume, taken in {_RASTERS} rasters at 650 Hz",
            "session: the hour (UTC) that the file's name tells; one that tells none is a session of its own",
            "one needle in one setup: volumes held back tell of other poses and of drift, not of another needle",
            "units: mm and deg are taken for granted, the data set names none",
        ],
    }
    return Recordings(oct_robot(), source, _episodes(paths), announced=len(paths))


def _episodes(paths: list[Path]) -> Iterator[Episode | InputError]:
    for path in paths:
        try:
            yield _episode(path)
        except InputError as error:
            yield error


def _episode(path: Path) -> Episode:
    volume, sensor = read_volume(path), oct_robot().sensors[0]
    numbers = np.arange(_RASTERS * RASTER_SAMPLES)
    at = np.rint(numbers * (1e9 / sensor.rate_hz)).astype(np.int64)
    moments = at[RASTER_SAMPLES - 1 :: sensor.hop_samples]
    # float16 has gray levels exactly, and the mirror's position to half a micrometer.
    samples = scan(volume, numbers).astype(np.float16)
    return Episode(
        instruction=_INSTRUCTION,
        session=_hour(path),
        actions=Stream(moments, np.tile(volume.pose, (len(moments), 1))),
        sensors={sensor.name: Stream(at, samples)},
        notes={"volume": path.name},
    )


def _hour(path: Path) -> str:
    """The hour in which a volume was recorded, from the Unix time that is its name; the name if it is none."""
    try:
        time = datetime.fromtimestamp(float(path.stem), UTC)
    except (ValueError, OverflowError, OSError):
        return path.stem
    return f"{time:%Y-%m-%dT%H}Z" if _FIRST_YEAR <= time.year < _LAST_YEAR else path.stem
