"""`ganglion data import lerobot FOLDER`: a LeRobotDataset v3.0, ours or anyone's."""

from __future__ import annotations

from ganglion.core.errors import InputError
from ganglion.core.specs import robot_from_dict
from ganglion.training.demonstrations.lerobot.dataset import LeRobotDataset, read_json
from ganglion.training.demonstrations.lerobot.layout import OUR_FORMAT, OURS
from ganglion.training.demonstrations.lerobot.native import native_episodes
from ganglion.training.demonstrations.lerobot.plain import check_fits, left_out, plain_episodes, plain_robot
from ganglion.training.demonstrations.recordings import Recordings, RecordingsRequest


def lerobot(request: RecordingsRequest) -> Recordings:
    """The episodes of a data set, read as they are asked for.

    Raises:
        InputError: it is no data set of version 3.0, a damaged one, or not of the robot that was given.
    """
    dataset = LeRobotDataset(request.source)
    return _ours(request, dataset) if (request.source / OURS).exists() else _anyones(request, dataset)


def _ours(request: RecordingsRequest, dataset: LeRobotDataset) -> Recordings:
    where = request.source / OURS
    ours = read_json(where)
    version = ours.get("format_version") if isinstance(ours, dict) else None
    if version != OUR_FORMAT:
        raise InputError(
            f"has format version {version!r:.40}, this ganglion reads {OUR_FORMAT}",
            where=where,
            remedy="upgrade ganglion or export again",
        )
    robot = robot_from_dict(ours.get("robot"), where)
    if request.robot is not None and request.robot != robot:
        raise InputError("tells its robot, which is another", where=where, remedy="leave --robot out")
    episodes = native_episodes(dataset, robot)
    return Recordings(robot, ours.get("source") or {}, episodes, announced=len(dataset.episodes))


def _anyones(request: RecordingsRequest, dataset: LeRobotDataset) -> Recordings:
    robot = request.robot or plain_robot(dataset)
    check_fits(robot, dataset)
    others = left_out(robot, dataset)
    notes = [
        f"stamps: of the rows, {dataset.fps:g} a second",
        "session: each episode its own",
        *([] if request.robot else ["names and sizes from meta/info.json, which tells no units"]),
        *([f"left out: {', '.join(others)}"] if others else []),
    ]
    source = {"kind": "lerobot", "name": request.source.resolve().name, "notes": notes}
    episodes = plain_episodes(dataset, robot)
    return Recordings(robot, source, episodes, measured=request.robot is None, announced=len(dataset.episodes))
