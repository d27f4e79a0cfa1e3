"""What a policy is given at one moment of an episode, and what it should do: streams brought together by time.

The moment is the stamp of an action. Everything that is given was there at that time: the newest sensor samples, the
newest state, and camera frames of a certain age.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.images import open_image
from ganglion.core.specs import ActionSpec, RobotSpec, SensorSpec
from ganglion.training.demonstrations.episode import Episode, Stamps, Stream

_STAMP_ROUNDING = 0.01  # samples: stamps are whole nanoseconds, and moments often fall right on one

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SensorWindow:
    """The newest second of a sensor.

    samples  (window_samples, channels) in units, of the type it was stored as; 0 where nothing was recorded; read-only
    present  (window_frames, groups) bool, whether all of a hop was recorded, by channel group
    """

    samples: npt.NDArray[np.floating]
    present: Flags


@dataclass(frozen=True)
class Views:
    """What the cameras show together, each time the first of them has a new frame.

    stamps_ns  (V,) int64, exposure of the oldest frame of each view
    whole_ns   (V,) int64, exposure of its newest: when it was there
    frames     (V, cameras) int64, which frame of each camera; -1 where it has none
    """

    stamps_ns: Stamps
    whole_ns: Stamps
    frames: npt.NDArray[np.int64]


def cut_window(stream: Stream | None, spec: SensorSpec, now_ns: int, absent: Collection[str] = ()) -> SensorWindow:
    """The window that ends at `now_ns`.

    Samples are counted back from the newest; where stamps tell that more than half a hop of the window is missing, each
    sample goes where its stamp says, and hops that are not whole are absent.

    Args:
        stream: as recorded; None gives a window in which all is absent.
        spec: the sensor.
        now_ns: the moment.
        absent: channel groups whose values mean nothing.
    """
    hop, count = spec.hop_samples, spec.window_samples
    groups: Flags = np.array([group.name not in absent for group in spec.groups])
    end = 0 if stream is None else int(np.searchsorted(stream.stamps_ns, now_ns, side="right"))
    if stream is None or end == 0:
        return SensorWindow(
            np.zeros((count, spec.channels), np.float32), np.zeros((spec.window_frames, len(groups)), bool)
        )
    begin = max(end - count, 0)
    stamps, values = stream.stamps_ns[begin:end], stream.values[begin:end]
    back = _samples_back(stamps, now_ns, spec.rate_hz)
    if back[0] - (len(back) - 1) <= hop / 2:
        if len(values) == count:  # the common case copies nothing
            return SensorWindow(values, np.broadcast_to(groups, (spec.window_frames, len(groups))))
        back = np.arange(len(back))[::-1]
    samples, recorded = np.zeros((count, spec.channels), values.dtype), np.zeros(count, np.bool_)
    within = back < count
    places = count - 1 - back[within]
    samples[places], recorded[places] = values[within], True
    whole: Flags = np.asarray(recorded.reshape(-1, hop).all(axis=1))
    return SensorWindow(samples, np.logical_and.outer(whole, groups))


def _samples_back(stamps_ns: Stamps, now_ns: int, rate_hz: float) -> npt.NDArray[np.int64]:
    """How many samples each one lies before the last that could be there: decreasing, 0 for one just taken.

    Distances are taken to the newest sample, not to `now_ns`, which may fall anywhere between two; jitter of less than
    half a sample then changes nothing. No two samples get one place, however near their stamps.
    """
    per_ns = rate_hz / 1e9
    lag = int((now_ns - int(stamps_ns[-1])) * per_ns + _STAMP_ROUNDING)
    newest_first = np.rint((stamps_ns[-1] - stamps_ns[::-1]) * per_ns).astype(np.int64)
    order = np.arange(len(stamps_ns))
    return lag + (np.maximum.accumulate(newest_first - order) + order)[::-1]


def cut_state(stream: Stream | None, dim: int, now_ns: int) -> tuple[Floats, bool]:
    """The newest state, (dim,) float32, and whether there is one; zeros if not."""
    index = -1 if stream is None else int(np.searchsorted(stream.stamps_ns, now_ns, side="right")) - 1
    if stream is None or index < 0:
        return np.zeros(dim, np.float32), False
    return stream.values[index].astype(np.float32), True


def cut_chunk(actions: Stream, spec: ActionSpec, now_ns: int) -> tuple[Floats, Flags]:
    """What was commanded from `now_ns` on, one row each period: (horizon, dim) float32, and (horizon,) which is real.

    A row is the action commanded last before its time, or up to half a period late. Behind the end of the episode the
    last one is repeated.
    """
    period_ns = 1e9 / spec.rate_hz
    due_ns = now_ns + np.arange(spec.horizon) * period_ns
    index = np.searchsorted(actions.stamps_ns, due_ns + period_ns / 2, side="right") - 1
    real = due_ns <= actions.stamps_ns[-1] + period_ns / 2
    return actions.values[index.clip(min=0)].astype(np.float32), real


def episode_views(episode: Episode, robot: RobotSpec) -> Views:
    """All views of an episode; none if no camera was recorded.

    Frames exposed up to half a period of the first camera after its own count as taken together with it.
    """
    names = [camera.name for camera in robot.cameras]
    leading = next((camera for camera in robot.cameras if camera.name in episode.cameras), None)
    if leading is None:
        return Views(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(names)), np.int64))
    led = episode.cameras[leading.name].stamps_ns
    until = led + int(0.5e9 / leading.rate_hz)
    frames = np.full((len(led), len(names)), -1, np.int64)
    oldest, newest = led.copy(), led.copy()
    for column, name in enumerate(names):
        if name in episode.cameras:
            own = episode.cameras[name].stamps_ns
            # The first camera's own frames as they are: with jitter, two may lie within half a period.
            index = np.searchsorted(own, until, side="right") - 1 if name != leading.name else np.arange(len(own))
            frames[:, column], exposed = index, np.where(index >= 0, own[index.clip(min=0)], led)
            oldest, newest = np.minimum(oldest, exposed), np.maximum(newest, exposed)
    return Views(oldest, newest, frames)


def view_at(views: Views, now_ns: int, age_ns: int) -> int:
    """Number of the newest view `age_ns` old at `now_ns` or older; else of the oldest there is by now, else -1."""
    there = int(np.searchsorted(views.whole_ns, now_ns, side="right"))
    old = int(np.searchsorted(views.stamps_ns, now_ns - age_ns, side="right"))
    return min(there, max(old, 1)) - 1


def view_images(episode: Episode, robot: RobotSpec, frames: npt.NDArray[np.int64], where: object) -> list[Image.Image]:
    """What the cameras show in one view, in the robot's order; a camera without a frame is left out.

    Args:
        episode: it is of.
        robot: whose cameras they are.
        frames: (cameras,) of the view, see Views.
        where: what to call the episode in an error.

    Raises:
        InputError: an image can't be decoded.
    """
    return [
        open_image(episode.cameras[camera.name].encoded[frame], f"{where}, camera {camera.name}, frame {frame}")
        for camera, frame in zip(robot.cameras, map(int, frames), strict=True)
        if frame >= 0
    ]
