"""Where RLDS episodes come from: TFRecord files of a split, and what to take of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.recordings import Recordings, RecordingsRequest
from ganglion.training.demonstrations.rlds.episodes import METADATA, EpisodeReader
from ganglion.training.demonstrations.rlds.features import FEATURES, Feature, read_features
from ganglion.training.demonstrations.rlds.layout import Layout, dimension_names, layout_of, robot_of, usual_columns

_FILE_PATH = METADATA + "file_path"
_EACH = "episode"  # --session: each episode is one
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})")
_EXPECTED = "give a folder with TFRecord files and features.json, or one such file"


def rlds(request: RecordingsRequest) -> Recordings:
    """The episodes of one split.

    Raises:
        InputError: files are missing or not what they should be, or an option doesn't fit them.
    """
    files = _files(request.source, request.split or "train")
    folder = files[0].parent
    features = read_features(folder / FEATURES)
    info = _info(folder)
    rate_hz = _rate_hz(request)
    layout = layout_of(features, request.columns or usual_columns(features), folder / FEATURES)
    robot = request.robot or robot_of(layout, features, str(info.get("name", folder.name)), rate_hz)
    _check_fits(robot, layout, features, folder / FEATURES)
    session = _session(request.session, features, folder / FEATURES)
    source = {
        "kind": "rlds",
        "name": f"{info.get('name', folder.name)} {info.get('version', '')}".strip(),
        "files": [file.name for file in files],
        "notes": [
            f"stamps: steps numbered at {rate_hz:g} Hz, since RLDS has no times",
            f"session: {session if session else 'each episode its own'}",
            *([] if request.robot else ["names from features.json, which tells no units"]),
        ],
    }
    reader = EpisodeReader(layout, features, robot, rate_hz, session)
    announced = _announced(info, request)
    return Recordings(robot, source, reader.episodes(files), measured=request.robot is None, announced=announced)


def _files(source: Path, split: str) -> list[Path]:
    """The TFRecord files of a split, all shards of them."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError("no such file or folder", where=source, remedy=_EXPECTED)
    files = sorted(source.glob(f"*-{split}.tfrecord*"))
    if not files:
        splits = sorted({path.name.split(".tfrecord")[0].rpartition("-")[2] for path in source.glob("*.tfrecord*")})
        remedy = f"add --split, one of {', '.join(splits)}" if splits else _EXPECTED
        raise InputError(f"holds no TFRecord files of split {split!r}", where=source, remedy=remedy)
    shards = [found for found in (_SHARD.fullmatch(file.name) for file in files) if found]
    for name, count in {(shard[1], int(shard[3])) for shard in shards}:
        there = {int(shard[2]) for shard in shards if (shard[1], int(shard[3])) == (name, count)}
        if missing := sorted(set(range(count)) - there):
            raise InputError(f"lacks shard {missing[0]} of {count} of {name}", where=source, remedy="copy it too")
    return files


def _info(folder: Path) -> Mapping[str, Any]:
    """What dataset_info.json says; nothing if there is none."""
    path = folder / "dataset_info.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"is no JSON object ({error})", where=path, remedy="copy it again, or remove it") from None


def _announced(info: Mapping[str, Any], request: RecordingsRequest) -> int | None:
    """Episodes that dataset_info.json promises for the split; None if it doesn't, or one file alone is read."""
    if request.source.is_file():
        return None
    try:
        (split,) = (one for one in info["splits"] if one["name"] == (request.split or "train"))
        return sum(map(int, split["shardLengths"]))
    except (KeyError, ValueError, TypeError):
        return None


def _rate_hz(request: RecordingsRequest) -> float:
    declared = request.robot.actions.rate_hz if request.robot else None
    rate_hz = request.rate_hz or declared
    if rate_hz is None:
        raise InputError("has no times", where=request.source, remedy="add --rate_hz, steps per second (Bridge: 5)")
    if declared not in (None, rate_hz):
        raise InputError(f"--rate_hz is {rate_hz:g}, but the robot's actions have {declared:g}", remedy="leave one out")
    return rate_hz


def _check_fits(robot: RobotSpec, layout: Layout, features: Mapping[str, Feature], where: Path) -> None:
    """See that a robot that was given is one of these episodes."""
    remedy = "correct --robot or --columns"
    for camera in robot.cameras:
        if camera.name not in layout.cameras:
            there = ", ".join(layout.cameras) or "none"
            raise InputError(f"has no images for camera {camera.name!r}, only {there}", where=where, remedy=remedy)
    state = robot.state.dim if robot.state and layout.state else 0
    for what, names, dim in (("actions", layout.actions, robot.actions.dim), ("state", layout.state, state)):
        count = len(dimension_names(names, features))
        if dim and count != dim:
            raise InputError(f"has {what} of {count} numbers, the robot of {dim}", where=where, remedy=remedy)


def _session(asked: str | None, features: Mapping[str, Feature], where: Path) -> str | None:
    """The feature that tells an episode's session; None if each is its own."""
    told = [name for name in features if name.startswith(METADATA)]
    if asked is None or asked == _EACH:
        return _FILE_PATH if asked is None and _FILE_PATH in told else None
    name = asked if asked.startswith(METADATA) else METADATA + asked
    if name not in told:
        known = ", ".join(sorted(name.removeprefix(METADATA) for name in told))
        raise InputError(f"has no {name!r}", where=where, remedy=f"--session takes {_EACH}{known and ', ' + known}")
    return name
