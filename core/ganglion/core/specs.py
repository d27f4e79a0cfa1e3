"""What a robot has: cameras, sensors, actions, with names, shapes, rates and units.

Specs are frozen data. They travel as plain JSON (`to_dict` / `robot_from_dict`) in recipes, beside weights and in a
bundle's manifest; nothing else in the project knows a channel count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from ganglion.core.errors import InputError


@dataclass(frozen=True)
class CameraSpec:
    """One camera. A frame is (height, width, 3) uint8 RGB at `rate_hz`, sent as JPEG."""

    name: str
    height: int
    width: int
    rate_hz: float

    def __post_init__(self) -> None:
        _positive(f"camera {self.name}", height=self.height, width=self.width, rate_hz=self.rate_hz)


@dataclass(frozen=True)
class ChannelGroup:
    """Neighboring channels of a sensor that share a meaning and a unit."""

    name: str
    channels: int
    unit: str

    def __post_init__(self) -> None:
        _positive(f"channel group {self.name}", channels=self.channels)


@dataclass(frozen=True)
class SensorSpec:
    """One sensor. A sample is (channels,), a hop (hop_samples, channels), a window (window_samples, channels)."""

    name: str
    groups: tuple[ChannelGroup, ...]
    rate_hz: float
    hop_samples: int = 13
    window_samples: int = 650

    def __post_init__(self) -> None:
        where = f"sensor {self.name}"
        _positive(where, rate_hz=self.rate_hz, hop_samples=self.hop_samples, window_samples=self.window_samples)
        if not self.groups:
            raise InputError("has no channel group", where=where, remedy="declare at least one")
        if self.window_samples % self.hop_samples:
            raise InputError(
                f"window of {self.window_samples} samples is not a whole number of hops of {self.hop_samples}",
                where=where,
                remedy="change window_samples or hop_samples",
            )

    @property
    def channels(self) -> int:
        """Channels of one sample, all groups together."""
        return sum(group.channels for group in self.groups)

    @property
    def window_frames(self) -> int:
        """Encoder frames (hops) in one window."""
        return self.window_samples // self.hop_samples

    @property
    def hop_ms(self) -> float:
        """Duration of one hop in milliseconds."""
        return 1e3 * self.hop_samples / self.rate_hz


@dataclass(frozen=True)
class StateSpec:
    """What the robot knows of itself (proprioception): readings (dim,) in `units` at `rate_hz`."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float

    def __post_init__(self) -> None:
        _positive("state", rate_hz=self.rate_hz)
        _one_each("state", self.names, units=self.units)
        if not self.names:
            raise InputError("has no dimension", where="state", remedy="name at least one, or leave the state out")

    @property
    def dim(self) -> int:
        """Dimensions of one reading."""
        return len(self.names)


@dataclass(frozen=True)
class ActionSpec:
    """What the policy commands: a chunk is (horizon, dim) in `units`, one row each 1 / rate_hz seconds.

    `low` and `high` bound each dimension; `max_rate` bounds its change per second. The bridge enforces both.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    max_rate: tuple[float, ...]
    rate_hz: float
    horizon: int = 8

    def __post_init__(self) -> None:
        _positive("actions", rate_hz=self.rate_hz, horizon=self.horizon)
        _one_each("actions", self.names, units=self.units, low=self.low, high=self.high, max_rate=self.max_rate)
        for name, low, high, rate in zip(self.names, self.low, self.high, self.max_rate, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high and 0 < rate < math.inf):
                raise InputError(
                    f"low {low}, high {high}, max_rate {rate} are no limits",
                    where=f"action {name}",
                    remedy="give finite low < high and max_rate > 0",
                )

    @property
    def dim(self) -> int:
        """Dimensions of one action."""
        return len(self.names)


@dataclass(frozen=True)
class RobotSpec:
    """One robot: what it sees, feels, knows of itself and can be told to do. `state` None: it reports none."""

    name: str
    cameras: tuple[CameraSpec, ...]
    sensors: tuple[SensorSpec, ...]
    actions: ActionSpec
    state: StateSpec | None = None

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.cameras] + [sensor.name for sensor in self.sensors]
        if len(set(names)) != len(names):
            raise InputError(f"names {names} repeat", where=f"robot {self.name}", remedy="give each its own name")


def default_robot() -> RobotSpec:
    """The needle robot: one 112 px camera at 30 Hz, force + 1025-bin A-scan at 650 Hz, 7 actions at 50 Hz."""
    return RobotSpec(
        name="needle",
        cameras=(CameraSpec("scene", height=112, width=112, rate_hz=30.0),),
        sensors=(
            SensorSpec("tip", (ChannelGroup("force", 1, "N"), ChannelGroup("a_scan", 1025, "dB")), rate_hz=650.0),
        ),
        actions=ActionSpec(
            names=("vx", "vy", "vz", "wx", "wy", "wz", "feed"),
            units=("mm/s", "mm/s", "mm/s", "rad/s", "rad/s", "rad/s", "mm/s"),
            low=(-10.0, -10.0, -10.0, -0.5, -0.5, -0.5, -5.0),
            high=(10.0, 10.0, 10.0, 0.5, 0.5, 0.5, 5.0),
            max_rate=(100.0, 100.0, 100.0, 5.0, 5.0, 5.0, 50.0),
            rate_hz=50.0,
        ),
    )


def to_dict(spec: RobotSpec) -> dict[str, Any]:
    """The spec as plain JSON data; `robot_from_dict` reads it back equal."""
    return asdict(spec)


def robot_from_dict(data: Mapping[str, Any], where: object = "robot spec") -> RobotSpec:
    """Build a RobotSpec from JSON data.

    Raises:
        InputError: an unknown or missing key, or values that contradict each other.
    """
    robot = _checked(RobotSpec, data, where)
    try:
        state = robot.get("state")
        return RobotSpec(
            name=robot["name"],
            cameras=tuple(CameraSpec(**_checked(CameraSpec, camera, where)) for camera in robot["cameras"]),
            sensors=tuple(_sensor(sensor, where) for sensor in robot["sensors"]),
            actions=ActionSpec(**_tuples(ActionSpec, robot["actions"], where)),
            state=None if state is None else StateSpec(**_tuples(StateSpec, state, where)),
        )
    except TypeError as error:
        raise InputError(
            f"a value has the wrong type ({error})", where=where, remedy="compare with robot.json"
        ) from None


def _tuples(cls: type, data: Mapping[str, Any], where: object) -> dict[str, Any]:
    values = _checked(cls, data, where)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _sensor(data: Mapping[str, Any], where: object) -> SensorSpec:
    sensor = _checked(SensorSpec, data, where)
    groups = tuple(ChannelGroup(**_checked(ChannelGroup, group, where)) for group in sensor.pop("groups"))
    return SensorSpec(groups=groups, **sensor)


def _checked(cls: type, data: Mapping[str, Any], where: object) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise InputError(f"expected an object for {cls.__name__}, found {data!r}", where=where)
    known = {field.name for field in fields(cls)}
    if unknown := sorted(set(data) - known):
        raise InputError(f"unknown key {unknown[0]!r} in {cls.__name__}", where=where, remedy=f"use {sorted(known)}")
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(required - set(data)):
        raise InputError(f"key {missing[0]!r} of {cls.__name__} is missing", where=where, remedy="add it")
    return dict(data)


def _one_each(where: str, names: Sequence[str], **values: Sequence[Any]) -> None:
    for field, entries in values.items():
        if len(entries) != len(names):
            raise InputError(
                f"{field} has {len(entries)} entries for {len(names)} names",
                where=where,
                remedy="give one entry per dimension",
            )


def _positive(where: str, **values: float) -> None:
    for name, value in values.items():
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value!r}", where=where, remedy="give a positive number")
