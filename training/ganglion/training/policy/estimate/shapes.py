"""What of a run's data decides memory and time: the robot, how often a sequence is read, the longest instruction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.specs import RobotSpec, default_robot
from ganglion.simulation.oct_replay import oct_robot
from ganglion.training.demonstrations.episode_set import EpisodeSet, is_set
from ganglion.training.policy import oct_volumes, synthetic
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.robots import common_robot
from ganglion.training.policy.sources import check_data


@dataclass(frozen=True)
class Shapes:
    """Of a run's data.

    robot        gives cameras, sensor, state and actions
    note         where this is from, for the user
    instruction  the longest goal in words
    reads        places where a sensor sequence is read
    read_hops    hops between them
    frames       camera frames that a frozen backbone sees before training; 0 where it sees those of each batch
    """

    robot: RobotSpec
    note: str
    instruction: str = ""
    reads: int = 1
    read_hops: int = 0
    frames: int = 0


def data_shapes(config: PolicyTrainConfig) -> Shapes:
    """Shapes of the data that a run names; of an episode set its spec and the instructions are read.

    Raises:
        InputError: data that can't be used.
    """
    if config.is_synthetic:
        return _synthetic(config)
    check_data(config)
    folders = [Path(folder) for folder in config.folders]
    if is_set(folders[0]):
        sets = [EpisodeSet(folder) for folder in folders]
        robot = common_robot([(str(s.folder), s.robot) for s in sets])
        goals = (s.instruction(name) for s in sets for name in s.names)
        return Shapes(robot, f"moments of {_named(robot)}", max(goals, key=len))
    return Shapes(oct_robot(), "OCT volumes", "", oct_volumes.READS, oct_volumes.READ_HOPS)


def _synthetic(config: PolicyTrainConfig) -> Shapes:
    robot = default_robot()
    if config.vl.finetune != "none":  # frames that were seen before teach a backbone nothing: meant for other data
        return Shapes(robot, f"no data given: moments are taken to be of {_named(robot)}", config.instruction)
    frames = config.frames + config.eval_count
    note = f"synthetic data: {frames} frames seen by the backbone once, sequences of {synthetic.READS} moments"
    return Shapes(robot, note, config.instruction, synthetic.READS, synthetic.READ_HOPS, frames)


def _named(robot: RobotSpec) -> str:
    views = [f"camera {camera.name} of {camera.width} x {camera.height}" for camera in robot.cameras]
    felt = [f"sensor {sensor.name} of {sensor.window_samples} x {sensor.channels}" for sensor in robot.sensors]
    return f"the robot {robot.name}: {', '.join([*views, *felt]) or 'no camera and no sensor'}"
