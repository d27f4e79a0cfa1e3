"""One moment of a recorded episode: what a policy may read there, and what it should do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ganglion.core.specs import RobotSpec, SensorSpec
from ganglion.training.demonstrations.cutting import SensorWindow, Views, cut_chunk, cut_state, cut_window, view_at
from ganglion.training.demonstrations.episode import Episode

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sight:
    """What the cameras show at a moment, and the goal.

    age_s        seconds from the exposure of the oldest frame to the moment; 0 where there is no frame
    instruction  the goal in words
    images       encoded, one of each camera that has a frame, in their order; empty where there are features
    features     (tokens, vl_width) in the place of images, without tokens where there is no frame; None without a cache
    """

    age_s: float
    instruction: str
    images: Sequence[bytes] = ()
    features: Tensor | None = None


@dataclass(frozen=True)
class Moment:
    """What is known when an action is commanded, and what is commanded from then on; in the robot's units.

    chunk        (horizon, dim) float32
    real         (horizon,) bool, the rows of the chunk that were commanded
    last         (dim,) float32, what was commanded before; at an episode's first action that action itself
    window       the newest samples; None where no sensor is read
    state        (state dim,) float32, 0 where it is not known; None for a robot without
    state_known  whether it is
    sight        None where no camera is looked at
    """

    chunk: Floats
    real: npt.NDArray[np.bool_]
    last: Floats
    window: SensorWindow | None = None
    state: Floats | None = None
    state_known: bool = False
    sight: Sight | None = None

    @property
    def felt(self) -> bool:
        """Whether anything was recorded by the sensor."""
        return self.window is not None and bool(self.window.present.any())


def cut_moment(episode: Episode, action: int, robot: RobotSpec, sensor: SensorSpec | None, feels: bool) -> Moment:
    """The moment of an action, without what the cameras show.

    Args:
        episode: it is of.
        action: its number in the episode.
        robot: whose actions and state they are.
        sensor: that is read, None if none is.
        feels: False takes the sensor for absent.
    """
    actions, now_ns = episode.actions, int(episode.actions.stamps_ns[action])
    chunk, real = cut_chunk(actions, robot.actions, now_ns)
    window, state, known = None, None, False
    if sensor is not None:
        stream = episode.sensors.get(sensor.name) if feels else None
        window = cut_window(stream, sensor, now_ns, episode.absent.get(sensor.name, ()))
    if robot.state is not None:
        state, known = cut_state(episode.state, robot.state.dim, now_ns)
    return Moment(chunk, real, actions.values[max(action - 1, 0)].astype(np.float32), window, state, known)


def choose_view(episode: Episode, action: int, views: Views, age_ns: int) -> tuple[int, float]:
    """The newest view of that age or older at an action, -1 if there is none yet, and its true age in seconds."""
    now_ns = int(episode.actions.stamps_ns[action])
    view = view_at(views, now_ns, age_ns)
    return view, (now_ns - int(views.stamps_ns[view])) / 1e9 if view >= 0 else 0.0


def encoded_images(episode: Episode, robot: RobotSpec, views: Views, view: int) -> list[bytes]:
    """What the cameras show in a view, as it was recorded; nothing if `view` is -1."""
    if view < 0:
        return []
    shown = zip(robot.cameras, map(int, views.frames[view]), strict=True)
    return [episode.cameras[camera.name].encoded[frame] for camera, frame in shown if frame >= 0]
