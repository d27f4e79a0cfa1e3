"""The features, paths and limits of LeRobotDataset v3.0, and what of them an episode's streams become.

Keys are LeRobot's own, so that its policies find them. Ours begin with `ganglion.`, because LeRobot takes whatever
begins with `observation` or `action` for an input or output of a policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganglion.core.specs import CameraSpec, RobotSpec, SensorSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream

VERSION = "v3.0"
INFO, STATS, TASKS = Path("meta/info.json"), Path("meta/stats.json"), Path("meta/tasks.parquet")
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK, DATA_FILE_MB, VIDEO_FILE_MB = 1000, 100, 200

ACTION, STATE, IMAGES, SENSORS = "action", "observation.state", "observation.images.", "observation.sensors."
STAMPS, COUNT = "ganglion.stamps_ns.", "ganglion.count."  # + the key of a stream
OURS = Path("meta/ganglion.json")
OUR_COLUMN, OUR_FORMAT = "ganglion", 1
AGAIN = "copy the data set again"


@dataclass(frozen=True)
class Feature:
    """A column of the table, or a video.

    key    its name
    dtype  numpy's name of the type, or video or image
    shape  of one row; (1,) is a plain number
    names  of what the shape counts, as LeRobot has them: of each entry, or of each axis
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: list[str] | None = None


@dataclass(frozen=True)
class Layout:
    """What the rows of a data set hold.

    fps       rows per second, as LeRobot counts; it allows whole ones only
    values    actions and state, one reading per row
    sensors   a block of samples per row
    cameras   videos, by feature key
    """

    fps: int
    values: tuple[Feature, ...]
    sensors: tuple[Feature, ...]
    cameras: Mapping[str, CameraSpec]

    @property
    def table(self) -> tuple[Feature, ...]:
        """The features that are columns, our own and LeRobot's bookkeeping behind the data."""
        videos = [Feature(STAMPS + key, "int64", (1,)) for key in self.cameras]
        stamps = [Feature(STAMPS + feature.key, "int64", (1,)) for feature in self.values]
        blocks = [Feature(STAMPS + feature.key, "int64", feature.shape[:1]) for feature in self.sensors]
        counts = [Feature(COUNT + feature.key, "int64", (1,)) for feature in self.sensors]
        return (*self.values, *self.sensors, *stamps, *videos, *blocks, *counts, *BOOKKEEPING)

    @property
    def room(self) -> dict[str, int]:
        """Most new readings of each stream in a row."""
        ones = dict.fromkeys([*self.cameras, *(feature.key for feature in self.values)], 1)
        return ones | {feature.key: feature.shape[0] for feature in self.sensors}


BOOKKEEPING = (
    Feature("timestamp", "float32", (1,)),
    Feature("frame_index", "int64", (1,)),
    Feature("episode_index", "int64", (1,)),
    Feature("index", "int64", (1,)),
    Feature("task_index", "int64", (1,)),
)


def streams_of(episode: Episode) -> dict[str, Stream | CameraStream]:
    """The streams of an episode by the key of their feature."""
    streams: dict[str, Stream | CameraStream] = {ACTION: episode.actions}
    if episode.state is not None:
        streams[STATE] = episode.state
    streams.update({SENSORS + name: stream for name, stream in episode.sensors.items()})
    return streams | {IMAGES + name: frames for name, frames in episode.cameras.items()}


def plan(robot: RobotSpec, episodes: Iterable[Episode]) -> Layout:
    """A layout with all streams that occur, each of a type that holds its readings of every episode.

    float16 becomes float32: LeRobot 0.4.4 fails on its statistics.
    """
    dtypes: dict[str, np.dtype[Any]] = {}
    for episode in episodes:
        for key, stream in streams_of(episode).items():
            dtype = stream.values.dtype if isinstance(stream, Stream) else np.float32
            dtypes[key] = np.result_type(dtypes.get(key, np.float32), dtype)
    cameras = {IMAGES + camera.name: camera for camera in robot.cameras if IMAGES + camera.name in dtypes}
    rates = [robot.actions.rate_hz, *(camera.rate_hz for camera in cameras.values())]
    values = [Feature(ACTION, str(dtypes[ACTION]), (robot.actions.dim,), list(robot.actions.names))]
    if robot.state is not None and STATE in dtypes:
        values.append(Feature(STATE, str(dtypes[STATE]), (robot.state.dim,), list(robot.state.names)))
        rates.append(robot.state.rate_hz)
    fps = max(1, round(max(rates)))
    sensors = [
        Feature(key, str(dtypes[key]), (block_samples(sensor, fps), sensor.channels), ["samples", "channels"])
        for sensor in robot.sensors
        if (key := SENSORS + sensor.name) in dtypes
    ]
    return Layout(fps, tuple(values), tuple(sensors), cameras)


def block_samples(sensor: SensorSpec, fps: int) -> int:
    """How many samples a row has room for: a quarter and one more than come on average, for jitter."""
    return math.ceil(1.25 * sensor.rate_hz / fps) + 1
