"""Demonstrations in a simulated world: an expert drives it, and all streams are kept at their own rates.

The expert is pushed off its way by smooth noise while what is kept are its own commands, so that a policy also sees
how to come back (DART: Laskey et al., "DART: Noise injection for robust imitation learning", CoRL 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ganglion.core.images import encode_jpeg
from ganglion.simulation.world import World
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream

_NOISE_S = 0.3  # time in which the noise forgets

Floats = npt.NDArray[np.float64]


def record(
    world: World,
    act: Callable[[], Floats],
    *,
    seconds: float,
    instruction: str,
    session: str,
    noise: Callable[[], Floats | float] = lambda: 0.0,
    seed: int | Sequence[int] = 0,
    rest_s: float = 0.0,
    notes: dict[str, object] | None = None,
) -> Episode:
    """Let an expert drive a fresh world.

    Args:
        world: begins where it is.
        act: the expert's command for the next hop, (action dim,).
        seconds: how long it drives, unless the world comes to its end before.
        instruction: the goal in words.
        session: what the episode is split by.
        noise: standard deviation, now, of what is added to its commands on their way, (action dim,) or a number.
        seed: of the noise, one number or several.
        rest_s: how long nothing is commanded at first, so that a sensor's window is filled when the expert begins; the
            episode has no actions then, for there is nothing in them to imitate.
        notes: see Episode.

    Returns:
        the episode; of the state, the sensor and cameras, what the robot has.
    """
    robot, pushed = world.robot, _Push(world.robot.actions.dim, world.robot.actions.rate_hz, seed)
    hops, rest = round((rest_s + seconds) * robot.actions.rate_hz), round(rest_s * robot.actions.rate_hz)
    low, high = np.array(robot.actions.low), np.array(robot.actions.high)
    actions, states, samples = [], [], []
    images: dict[str, list[bytes]] = {camera.name: [] for camera in robot.cameras}
    exposed: dict[str, list[int]] = {camera.name: [] for camera in robot.cameras}
    for hop in range(hops):
        if world.done:
            break
        now_s = hop / robot.actions.rate_hz
        for camera in robot.cameras:
            if len(images[camera.name]) <= now_s * camera.rate_hz + 1e-9:
                images[camera.name].append(encode_jpeg(world.frame(camera.name)))
                exposed[camera.name].append(round(now_s * 1e9))
        wanted = np.zeros(robot.actions.dim) if hop < rest else np.asarray(act(), np.float64)
        states.append(world.state())
        if hop >= rest:
            actions.append(wanted)
        samples.append(world.step(wanted if hop < rest else np.clip(wanted + noise() * pushed.next(), low, high)))
    stamps = np.round(np.arange(len(states)) / robot.actions.rate_hz * 1e9).astype(np.int64)
    return Episode(
        instruction=instruction,
        session=session,
        actions=Stream(stamps[rest:], np.asarray(actions, np.float32)),
        state=Stream(stamps, np.asarray(states, np.float32)) if robot.state else None,
        sensors={sensor.name: _sensed(np.concatenate(samples), sensor.rate_hz) for sensor in robot.sensors},
        cameras={name: CameraStream(np.array(exposed[name], np.int64), images[name]) for name in images},
        notes=notes or {},
    )


class _Push:
    """Noise that wanders, of standard deviation 1: an Ornstein-Uhlenbeck process."""

    def __init__(self, dim: int, rate_hz: float, seed: int | Sequence[int]) -> None:
        self._rng = np.random.default_rng([*np.atleast_1d(seed).tolist(), 7])
        self._kept = float(np.exp(-1 / (rate_hz * _NOISE_S)))
        self._now = np.zeros(dim)

    def next(self) -> Floats:
        fresh = self._rng.standard_normal(self._now.shape) * np.sqrt(1 - self._kept**2)
        self._now = self._kept * self._now + fresh
        return self._now


def _sensed(samples: npt.NDArray[np.float32], rate_hz: float) -> Stream:
    """Half precision holds what the bridge sends."""
    stamps = np.round((np.arange(len(samples)) + 1) / rate_hz * 1e9).astype(np.int64)
    return Stream(stamps, samples.astype(np.float16))
