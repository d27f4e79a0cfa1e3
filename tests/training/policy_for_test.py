"""What tests of policy training share: a small robot that sees, feels and knows its state, and recordings of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from demonstrations_for_test import picture, stamps, stream, written

from ganglion.core.specs import ActionSpec, CameraSpec, ChannelGroup, RobotSpec, SensorSpec, StateSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.policy.config import OptimOptions, PolicyTrainConfig, VlOptions

UNTRAINED = "offline:qwen2_vl?untrained"
ROBOT = RobotSpec(
    name="small",
    cameras=(CameraSpec("front", 56, 56, 10.0),),
    sensors=(SensorSpec("tip", (ChannelGroup("force", 1, "N"), ChannelGroup("scan", 3, "dB")), 650.0),),
    actions=ActionSpec(("x", "y"), ("m/s", "m/s"), (-10.0, -10.0), (10.0, 10.0), (1e4, 1e4), rate_hz=20.0, horizon=4),
    state=StateSpec(("q", "r", "s"), ("rad", "rad", "rad"), rate_hz=50.0),
)
BLIND = replace(ROBOT, cameras=())
SENSORLESS = replace(ROBOT, sensors=())


def recording(seed: int, seconds: float = 1.6, robot: RobotSpec = ROBOT, sensor: bool = True) -> Episode:
    """Noise in every stream of the robot, in a session of its own; the first second has no action."""
    rng = np.random.default_rng(seed)
    due = stamps(20, seconds - 1, 1.0)
    seen = {c.name: stamps(c.rate_hz, seconds, 0.01) for c in robot.cameras}
    return Episode(
        instruction=f"touch peak {seed % 3}",
        session=f"day {seed}",
        actions=Stream(due, rng.normal(size=(len(due), 2)).astype(np.float32)),
        state=stream(seed + 1, 3, stamps(50, seconds)) if robot.state else None,
        sensors={s.name: stream(seed + 2, 4, stamps(s.rate_hz, seconds), np.float16) for s in robot.sensors if sensor},
        cameras={
            name: CameraStream(at, [picture(seed * 100 + k, 56, 56) for k in range(len(at))])
            for name, at in seen.items()
        },
    )


def recorded(folder: Path, with_sensor: int, without: int = 0, robot: RobotSpec = ROBOT, **changes: Any) -> Path:
    """A set of so many episodes with the sensor, then so many without."""
    count = with_sensor + without
    written(folder, *(recording(k, robot=robot, sensor=k < with_sensor, **changes) for k in range(count)), robot=robot)
    return folder


def options(folder: Path, out: Path, **changes: Any) -> PolicyTrainConfig:
    """A few steps of the smallest policy."""
    values: dict[str, Any] = {
        "data": str(folder),
        "out": out,
        "size": "tiny",
        "vl": VlOptions(base=UNTRAINED),
        "steps": 4,
        "batch_size": 4,
        "optim": OptimOptions(lr=1e-3, lr_sensor=1e-3),
        "precision": "float32",
        "threads": 1,
    }
    return PolicyTrainConfig(**{**values, **changes})
