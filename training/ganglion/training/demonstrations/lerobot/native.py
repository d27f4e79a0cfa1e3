"""A data set that `exporting` wrote -> the very episodes: each reading once, with its own stamp, of its own type."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stamps, Stream
from ganglion.training.demonstrations.lerobot.dataset import LeRobotDataset
from ganglion.training.demonstrations.lerobot.layout import (
    ACTION,
    AGAIN,
    COUNT,
    IMAGES,
    OUR_COLUMN,
    SENSORS,
    STAMPS,
    STATE,
)
from ganglion.training.demonstrations.lerobot.video import VideoFrames


def native_episodes(dataset: LeRobotDataset, robot: RobotSpec) -> Iterator[Episode]:
    """The episodes, one in memory at a time, and their frames one at a time.

    Raises:
        InputError: the data set was changed by other means, or is damaged.
    """
    features = [feature for feature in dataset.features.values() if feature.dtype != "video"]
    for noted, batches in dataset.rows(features):
        where = f"{dataset.folder}: episode {noted['episode_index']}"
        try:
            facts = json.loads(noted[OUR_COLUMN])
            readings = {
                key: _Readings(int(fact["count"]), fact.get("dtype"), dataset.features[key].shape[-1])
                for key, fact in facts["streams"].items()
            }
            for batch in batches:
                for key, kept in readings.items():
                    kept.add(*_new(batch, key, kept, dataset.fps))
            yield _episode(dataset, robot, noted, facts, readings)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"is not as ganglion wrote it ({error})",
                where=where,
                remedy=f"{AGAIN}, or remove meta/ganglion.json to take it as anyone's",
            ) from None


class _Readings:
    """The readings of a stream that have been found so far; of a camera, seconds into the video instead of values.

    Values are in a file without a name, not in memory: an episode may be large.
    """

    def __init__(self, count: int, dtype: str | None, channels: int) -> None:
        if count < 1:
            raise ValueError(f"a stream has {count} readings")
        shape = (count, channels) if dtype else (count,)
        self.stamps_ns: Stamps = np.empty(count, np.int64)
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)  # or says it is full
            self.values: npt.NDArray[Any] = np.memmap(file, dtype or np.float64, "r+", shape=shape).view(np.ndarray)
        self.count = 0

    def add(self, stamps_ns: Stamps, values: npt.NDArray[Any]) -> None:
        """Put readings behind the others."""
        end = self.count + len(stamps_ns)
        self.stamps_ns[self.count : end] = stamps_ns
        self.values[self.count : end] = values.reshape(len(values), *self.values.shape[1:])
        self.count = end

    def last(self) -> Stamps:
        return self.stamps_ns[: self.count][-1:]


def _new(batch: dict[str, Any], key: str, kept: _Readings, fps: float) -> tuple[Stamps, npt.NDArray[Any]]:
    """The readings that rows show for the first time, and their stamps."""
    stamps = batch[STAMPS + key]
    if COUNT + key in batch:
        there = np.arange(stamps.shape[1]) < batch[COUNT + key][:, None]
        return stamps[there], batch[key][there]
    values = batch["frame_index"] / fps if key.startswith(IMAGES) else batch[key]
    before = np.concatenate([kept.last(), stamps])
    first = np.append(True, before[1:] != before[:-1])[-len(stamps) :]
    return stamps[first], values[first]


def _episode(
    dataset: LeRobotDataset,
    robot: RobotSpec,
    noted: dict[str, Any],
    facts: dict[str, Any],
    readings: dict[str, _Readings],
) -> Episode:
    for key, kept in readings.items():
        if kept.count != len(kept.stamps_ns):
            raise ValueError(f"{key} has {kept.count} readings of {len(kept.stamps_ns)}")
    cameras, streams = {}, {}
    specs = {IMAGES + camera.name: camera for camera in robot.cameras}
    for key, kept in readings.items():
        if key in specs:
            path, begin = dataset.video(noted, key)
            times, checksum = begin + kept.values, facts["streams"][key]["crc32"]
            frames = VideoFrames(path, times, 0.25 / dataset.fps, specs[key], checksum)
            cameras[specs[key].name] = CameraStream(kept.stamps_ns, frames)
        else:
            streams[key] = Stream(kept.stamps_ns, kept.values)
    return Episode(
        instruction=noted["tasks"][0],
        session=facts["session"],
        actions=streams.pop(ACTION),
        state=streams.pop(STATE, None),
        sensors={key.removeprefix(SENSORS): stream for key, stream in streams.items()},
        cameras=cameras,
        absent=facts["absent"],
        notes=facts["notes"],
    )
