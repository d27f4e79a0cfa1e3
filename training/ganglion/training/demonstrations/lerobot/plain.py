"""Anyone's LeRobotDataset v3.0 -> episodes of one rate, and the robot they are of as far as the data set tells.

It doesn't tell units, so they are "unknown"; the limits of actions are those of the statistics, and their greatest
change per second the whole range from one row to the next.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.images import upright, upright_size
from ganglion.core.specs import ActionSpec, CameraSpec, RobotSpec, StateSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.lerobot.dataset import AGAIN, LeRobotDataset, read_json
from ganglion.training.demonstrations.lerobot.layout import ACTION, BOOKKEEPING, INFO, STATE, STATS, Feature
from ganglion.training.demonstrations.lerobot.video import VideoFrames, png

UNKNOWN = "unknown"  # unit
_PICTURES = ("video", "image")
_TOLERANCE_S = 1e-4  # LeRobot's own, for times that should be whole numbers of frames


def plain_robot(dataset: LeRobotDataset) -> RobotSpec:
    """The robot of a data set.

    Raises:
        InputError: it has no actions of one dimension, or no limits of them.
    """
    actions, fps = _vector(dataset, ACTION), dataset.fps
    low, high = (_limits(dataset, name, actions.shape[0]) for name in ("min", "max"))
    still = high <= low
    low, high = low - still, high + still  # a spec has no empty range
    state = _vector(dataset, STATE) if STATE in dataset.features else None
    return RobotSpec(
        name=dataset.robot_type,
        cameras=tuple(_camera(key, dataset) for key in _cameras(dataset)),
        sensors=(),
        actions=ActionSpec(
            names=_names(actions),
            units=(UNKNOWN,) * actions.shape[0],
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            max_rate=tuple(((high - low) * fps).tolist()),
            rate_hz=fps,
        ),
        state=None if state is None else StateSpec(_names(state), (UNKNOWN,) * state.shape[0], fps),
    )


def left_out(dataset: LeRobotDataset) -> list[str]:
    """The features that become nothing of an episode."""
    known = {ACTION, STATE, *_cameras(dataset), *(feature.key for feature in BOOKKEEPING)}
    return sorted(set(dataset.features) - known)


def plain_episodes(dataset: LeRobotDataset, robot: RobotSpec) -> Iterator[Episode]:
    """The episodes, one in memory at a time, and frames of videos one at a time; each is a session of its own.

    Raises:
        InputError: the data set is damaged.
    """
    images = [key for key in _cameras(dataset) if dataset.features[key].dtype == "image"]
    keys = [ACTION, *([STATE] if robot.state else []), *images]
    features = [*(dataset.features[key] for key in keys), *(one for one in BOOKKEEPING if one.key != "index")]
    for noted, batches in dataset.rows(features):
        parts = list(batches)
        yield _episode(dataset, robot, noted, {key: [part[key] for part in parts] for key in parts[0]})


def _episode(
    dataset: LeRobotDataset, robot: RobotSpec, noted: dict[str, Any], columns: dict[str, list[Any]]
) -> Episode:
    number = noted["episode_index"]
    where = f"{dataset.folder}: episode {number}"
    frames, shown = np.concatenate(columns["frame_index"]), np.concatenate(columns["timestamp"]).astype(np.float64)
    nominal = frames / dataset.fps
    times = np.where(abs(shown - nominal) < _TOLERANCE_S, nominal, shown)  # float32 seconds are coarse
    stamps = np.rint(times * 1e9).astype(np.int64)
    tasks = [dataset.tasks.get(task) for task in dict.fromkeys(np.concatenate(columns["task_index"]).tolist())]
    if tasks[0] is None:
        raise InputError("has a task that meta/tasks.parquet lacks", where=where, remedy=AGAIN)
    cameras = {}
    for key, camera in zip(_cameras(dataset), robot.cameras, strict=True):
        if key in columns:
            rows = [row for part in columns[key] for row in part.to_pylist()]
            images = [_picture(row, camera, f"{where}, {key}, frame {i}") for i, row in enumerate(rows)]
            cameras[camera.name] = CameraStream(stamps, images)
        else:
            path, begin = dataset.video(noted, key)
            cameras[camera.name] = CameraStream(stamps, VideoFrames(path, begin + times, 0.5 / dataset.fps, camera))
    return Episode(
        instruction=tasks[0],
        session=f"episode {number}",
        actions=Stream(stamps, _readings(columns[ACTION])),
        state=Stream(stamps, _readings(columns[STATE])) if robot.state else None,
        cameras=cameras,
        notes={"tasks": tasks} if len(tasks) > 1 else {},
    )


def _readings(parts: list[npt.NDArray[Any]]) -> npt.NDArray[np.floating]:
    values = np.concatenate(parts)
    floats: npt.NDArray[np.floating] = values if values.dtype.kind == "f" else values.astype(np.float32)
    return floats.reshape(len(values), -1)


def _vector(dataset: LeRobotDataset, key: str) -> Feature:
    feature = dataset.features.get(key)
    where = dataset.folder / INFO
    if feature is None:
        raise InputError(f"has no {key!r}", where=where, remedy="a policy learns actions; give a data set with them")
    if feature.dtype in (*_PICTURES, "string") or len(feature.shape) != 1:
        raise InputError(
            f"{key!r} is {feature.dtype} {feature.shape}", where=where, remedy="give numbers in one dimension"
        )
    return feature


def _limits(dataset: LeRobotDataset, name: str, dim: int) -> npt.NDArray[np.float64]:
    where = dataset.folder / STATS
    found = read_json(where)
    try:
        limits = np.asarray(found[ACTION][name], np.float64).reshape(dim)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"action.{name} is no list of {dim} numbers ({error})"
        raise InputError(reason, where=where, remedy="recompute the statistics with lerobot") from None
    return limits


def _names(feature: Feature) -> tuple[str, ...]:
    if feature.names and len(feature.names) == feature.shape[0]:
        return tuple(feature.names)
    return tuple(f"{feature.key}_{i}" for i in range(feature.shape[0]))


def _cameras(dataset: LeRobotDataset) -> list[str]:
    return [key for key, feature in dataset.features.items() if feature.dtype in _PICTURES]


def _camera(key: str, dataset: LeRobotDataset) -> CameraSpec:
    feature = dataset.features[key]
    if len(feature.shape) != 3:
        raise InputError(f"{key!r} has shape {feature.shape}", where=dataset.folder / INFO, remedy=AGAIN)
    channels_first = (feature.names or [""])[0].startswith("channel")
    height, width = feature.shape[1:] if channels_first else feature.shape[:2]
    name = key.removeprefix("observation.").removeprefix("images.")
    return CameraSpec(name, height=height, width=width, rate_hz=dataset.fps)


def _picture(row: Any, camera: CameraSpec, where: str) -> bytes:
    """The image of a row as JPEG or PNG, as it is if it is one."""
    encoded = (row or {}).get("bytes")
    if not encoded:
        raise InputError("has no image in it", where=where, remedy="embed the images, as lerobot does when it saves")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            size = upright_size(image)
            kept: bytes = encoded if image.format in ("JPEG", "PNG") else png(np.asarray(upright(image)))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"is no image ({error})", where=where, remedy=AGAIN) from None
    if size != (camera.width, camera.height):
        raise InputError(f"is {size[0]}x{size[1]}", where=where, remedy=f"{INFO} says {camera.width}x{camera.height}")
    return kept
