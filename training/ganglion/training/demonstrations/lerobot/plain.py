"""Anyone's LeRobotDataset v3.0 -> episodes of one rate, and the robot they are of as far as the data set tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec, CameraSpec, RobotSpec, StateSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.images import decode
from ganglion.training.demonstrations.lerobot.dataset import LeRobotDataset
from ganglion.training.demonstrations.lerobot.layout import ACTION, AGAIN, BOOKKEEPING, INFO, STATE, Feature
from ganglion.training.demonstrations.lerobot.video import VideoFrames

_PICTURES = ("video", "image")
_TOLERANCE_S = 1e-4  # LeRobot's own, for times that should be whole numbers of frames


def plain_robot(dataset: LeRobotDataset) -> RobotSpec:
    """The robot of a data set; limits of its actions are for the episodes to tell.

    Raises:
        InputError: it has no actions of one dimension, or a feature that can't be what it is called.
    """
    actions, fps = _vector(dataset, ACTION), dataset.fps
    dim = actions.shape[0]
    state = _vector(dataset, STATE) if STATE in dataset.features else None
    return RobotSpec(
        name=dataset.robot_type,
        cameras=tuple(_camera(name, key, dataset) for name, key in cameras_of(dataset).items()),
        sensors=(),
        actions=ActionSpec(_names(actions), _unknown(dim), (-1.0,) * dim, (1.0,) * dim, (1.0,) * dim, rate_hz=fps),
        state=None if state is None else StateSpec(_names(state), _unknown(state.shape[0]), fps),
    )


def check_fits(robot: RobotSpec, dataset: LeRobotDataset) -> None:
    """See that a robot that was given is one of these episodes.

    Raises:
        InputError: naming the camera or the dimensions that differ.
    """
    where, remedy = dataset.folder / INFO, "correct --robot"
    own = plain_robot(dataset)
    sizes = {camera.name: (camera.width, camera.height) for camera in own.cameras}
    for camera in robot.cameras:
        if sizes.get(camera.name) != (camera.width, camera.height):
            there = ", ".join(f"{name} of {width} x {height}" for name, (width, height) in sizes.items()) or "none"
            wanted = f"{camera.name} of {camera.width} x {camera.height}"
            raise InputError(f"has no camera {wanted}, only {there}", where=where, remedy=remedy)
    if robot.actions.dim != own.actions.dim:
        counts = f"{own.actions.dim} numbers, the robot of {robot.actions.dim}"
        raise InputError(f"has actions of {counts}", where=where, remedy=remedy)
    if robot.state is not None and robot.state.dim != (own.state.dim if own.state else 0):
        counts = f"{own.state.dim if own.state else 0} numbers, the robot of {robot.state.dim}"
        raise InputError(f"has a state of {counts}", where=where, remedy=remedy)


def left_out(robot: RobotSpec, dataset: LeRobotDataset) -> list[str]:
    """The features that become nothing of an episode."""
    cameras = cameras_of(dataset)
    known = {ACTION, *([STATE] if robot.state else []), *(feature.key for feature in BOOKKEEPING)}
    return sorted(set(dataset.features) - known - {cameras[camera.name] for camera in robot.cameras})


def plain_episodes(dataset: LeRobotDataset, robot: RobotSpec) -> Iterator[Episode | InputError]:
    """The episodes, one in memory at a time, and frames of videos one at a time; each is a session of its own.

    Raises:
        InputError: the tables are damaged.
    """
    pictures = [dataset.features[cameras_of(dataset)[camera.name]] for camera in robot.cameras]
    features = [
        dataset.features[ACTION],
        *([dataset.features[STATE]] if robot.state else []),
        *(feature for feature in pictures if feature.dtype == "image"),
        *(feature for feature in BOOKKEEPING if feature.key != "index"),
    ]
    for noted, batches in dataset.rows(features):
        parts = list(batches)
        columns = {feature.key: [part[feature.key] for part in parts] for feature in features}
        try:
            episode: Episode | InputError = _episode(dataset, robot, noted, columns)
        except InputError as error:
            episode = error
        yield episode


def _episode(
    dataset: LeRobotDataset, robot: RobotSpec, noted: dict[str, Any], columns: dict[str, list[Any]]
) -> Episode:
    number = noted["episode_index"]
    where = f"{dataset.folder}: episode {number}"
    frames, shown = np.concatenate(columns["frame_index"]), np.concatenate(columns["timestamp"]).astype(np.float64)
    if not np.isfinite(shown).all():
        raise InputError("has a timestamp that is no number", where=where, remedy=AGAIN)
    nominal = frames / dataset.fps
    times = np.where(abs(shown - nominal) < _TOLERANCE_S, nominal, shown)  # float32 seconds are coarse
    stamps = np.rint(times * 1e9).astype(np.int64)
    tasks = [dataset.tasks.get(task) for task in dict.fromkeys(np.concatenate(columns["task_index"]).tolist())]
    if tasks[0] is None:
        raise InputError("has a task that meta/tasks.parquet lacks", where=where, remedy=AGAIN)
    cameras = {}
    for camera in robot.cameras:
        key = cameras_of(dataset)[camera.name]
        if key in columns:
            rows = [row for part in columns[key] for row in part.to_pylist()]
            images = [_image(row, camera, f"{where}, {key}, frame {i}") for i, row in enumerate(rows)]
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


def _names(feature: Feature) -> tuple[str, ...]:
    if feature.names and len(feature.names) == feature.shape[0]:
        return tuple(feature.names)
    return tuple(f"{feature.key}_{i}" for i in range(feature.shape[0]))


def _unknown(dim: int) -> tuple[str, ...]:
    """Units, which the format doesn't tell."""
    return ("unknown",) * dim


def cameras_of(dataset: LeRobotDataset) -> dict[str, str]:
    """The features that are pictures by the name of their camera."""
    keys = [key for key, feature in dataset.features.items() if feature.dtype in _PICTURES]
    return {key.removeprefix("observation.").removeprefix("images."): key for key in keys}


def _camera(name: str, key: str, dataset: LeRobotDataset) -> CameraSpec:
    feature = dataset.features[key]
    if len(feature.shape) != 3:
        raise InputError(f"{key!r} has shape {feature.shape}", where=dataset.folder / INFO, remedy=AGAIN)
    channels_first = (feature.names or [""])[0].startswith("channel")
    height, width = feature.shape[1:] if channels_first else feature.shape[:2]
    return CameraSpec(name, height=height, width=width, rate_hz=dataset.fps)


def _image(row: Any, camera: CameraSpec, where: str) -> bytes:
    """The image of a row as it is, a JPEG or PNG."""
    encoded: bytes | None = (row or {}).get("bytes")
    if not encoded:
        raise InputError("has no image in it", where=where, remedy="embed the images, as lerobot does when it saves")
    decode(encoded, camera, where)
    return encoded
