"""What the quickstart's robot is: the synthetic needle, or held-back OCT volumes played at the sensor's rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ganglion.core.errors import GanglionError
from ganglion.core.normalization import Scale, read_normalization
from ganglion.core.specs import RobotSpec
from ganglion.demo.quickstart.figures import read_json
from ganglion.robot_bridge.report import Trace
from ganglion.robot_bridge.source import SourceName
from ganglion.simulation.oct_replay import RASTER_SAMPLES, OctReplay, oct_robot

_SIMULATED = "ganglion.robot_bridge.simulated"
_RASTERS = 2  # seconds over each volume: the first fills the window, estimates of the second count


@dataclass(frozen=True)
class Stream:
    """Sources for the bridge.

    score    how good the policy's predictions were, where the truth is known
    seconds  how long it takes to see everything
    """

    samples: SourceName
    cameras: Mapping[str, SourceName] = field(default_factory=dict)
    score: Callable[[Trace], dict[str, Any]] | None = None
    seconds: float = 0.0


def needle_stream(robot: RobotSpec, seed: int) -> Stream:
    """The synthetic needle robot of a seed, with all its cameras."""
    cameras = {
        camera.name: SourceName(f"{_SIMULATED}:NeedleFrames", {"seed": seed, "camera": camera.name})
        for camera in robot.cameras
    }
    return Stream(SourceName(f"{_SIMULATED}:needle_samples", {"seed": seed}), cameras)


def oct_stream(data: Path, policy: Path) -> Stream:
    """The volumes that training held back, one after another, long enough to meet each of them.

    Args:
        data: folder of volumes.
        policy: folder of the policy, which names what was held back and knows the training mean.
    """
    names = read_json(policy / "run.json")["volumes"]["test"]
    replay, norm = OctReplay(data, names, _RASTERS), read_normalization(policy / "norm.json")
    source = SourceName(
        f"{_SIMULATED}:oct_samples", {"folder": str(data), "names": names, "rasters_per_volume": _RASTERS}
    )

    def score(trace: Trace) -> dict[str, Any]:
        return pose_errors(replay, norm.action, trace)

    return Stream(source, score=score, seconds=_RASTERS * len(names) * RASTER_SAMPLES / oct_robot().sensors[0].rate_hz)


def pose_errors(replay: OctReplay, scale: Scale, trace: Trace) -> dict[str, Any]:
    """Errors of the estimates that came back while a whole window lay in one volume, beside those of the mean.

    Args:
        replay: what was streamed.
        scale: the poses' training mean and standard deviation.
        trace: what the bridge recorded.

    Returns:
        volumes, estimates: how many were scored; mae, mean_mae: mean absolute error of the estimate and of the
        training mean in standard deviations; dimensions: the same for each in its unit.
    """
    due = [index for index, seq in enumerate(trace.last_seq) if trace.ready[index] and replay.settled(int(seq))]
    if not due:
        raise GanglionError("no estimate was due", where="pose", remedy="stream for longer with --seconds")
    poses = np.stack([replay.pose(int(trace.last_seq[index])) for index in due])
    ours, mean = np.abs(trace.predicted[due] - poses), np.abs(scale.mean - poses)
    spec = oct_robot().actions
    return {
        "volumes": len(np.unique(poses, axis=0)),
        "estimates": len(due),
        "mae": float((ours / scale.std).mean()),
        "mean_mae": float((mean / scale.std).mean()),
        "dimensions": {
            name: {"unit": unit, "mae": float(ours[:, i].mean()), "mean_mae": float(mean[:, i].mean())}
            for i, (name, unit) in enumerate(zip(spec.names, spec.units, strict=True))
        },
    }
