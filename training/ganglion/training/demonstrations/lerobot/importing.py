"""`ganglion data import lerobot FOLDER`: a LeRobotDataset v3.0, ours or anyone's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec, robot_from_dict
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.lerobot.dataset import LeRobotDataset, read_json
from ganglion.training.demonstrations.lerobot.layout import OUR_FORMAT, OURS
from ganglion.training.demonstrations.lerobot.native import native_episodes
from ganglion.training.demonstrations.lerobot.plain import left_out, plain_episodes, plain_robot


def import_lerobot(folder: Path) -> tuple[RobotSpec, dict[str, Any], Iterator[Episode]]:
    """The robot of a data set, where it is from, and its episodes, read as they are asked for.

    Raises:
        InputError: it is no data set of version 3.0, or a damaged one.
    """
    dataset = LeRobotDataset(folder)
    if not (folder / OURS).exists():
        robot = plain_robot(dataset)
        return robot, {"kind": "lerobot", "left_out": left_out(dataset)}, plain_episodes(dataset, robot)
    ours = read_json(folder / OURS)
    if not isinstance(ours, dict) or ours.get("format_version") != OUR_FORMAT:
        found = ours.get("format_version") if isinstance(ours, dict) else ours
        raise InputError(
            f"has format version {found!r:.40}, this ganglion reads {OUR_FORMAT}",
            where=folder / OURS,
            remedy="upgrade ganglion or export again",
        )
    robot = robot_from_dict(ours.get("robot") or {}, folder / OURS)
    return robot, dict(ours.get("source") or {}), native_episodes(dataset, robot)
