"""What tests of demonstrations share: a small robot of every kind of stream, and episodes of it."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.specs import ActionSpec, CameraSpec, ChannelGroup, RobotSpec, SensorSpec, StateSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.episode_set import EpisodeSet, SetWriter, create_set

ROBOT = RobotSpec(
    name="small",
    cameras=(CameraSpec("front", 12, 16, 30.0), CameraSpec("wrist", 12, 16, 10.0)),
    sensors=(
        SensorSpec(
            "tip",
            (ChannelGroup("force", 1, "N"), ChannelGroup("scan", 3, "dB")),
            100.0,
            hop_samples=5,
            window_samples=20,
        ),
    ),
    actions=ActionSpec(("x", "y"), ("m/s", "m/s"), (-10.0, -10.0), (10.0, 10.0), (1e4, 1e4), rate_hz=20.0, horizon=4),
    state=StateSpec(("q", "r", "s"), ("rad", "rad", "rad"), rate_hz=50.0),
)


def picture(seed: int, height: int = 12, width: int = 16, kind: str = "JPEG") -> bytes:
    """Noise, as an encoded image."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return encoded(pixels, kind)


def encoded(pixels: npt.NDArray[np.uint8], kind: str = "JPEG") -> bytes:
    """An image of these pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def stamps(rate_hz: float, seconds: float, start_s: float = 0.0) -> npt.NDArray[np.int64]:
    """Regular stamps in ns, from `start_s` for some seconds."""
    return np.rint((start_s + np.arange(round(rate_hz * seconds)) / rate_hz) * 1e9).astype(np.int64)


def stream(seed: int, channels: int, at: npt.NDArray[np.int64], dtype: Any = np.float32) -> Stream:
    """Noise between -5 and 5 at these times."""
    return Stream(at, np.random.default_rng(seed).uniform(-5, 5, (len(at), channels)).astype(dtype))


def episode(seed: int = 0, seconds: float = 1.0, session: str = "monday", **changes: Any) -> Episode:
    """An episode of ROBOT with everything in it."""
    front, wrist = stamps(30, seconds, 0.003), stamps(10, seconds, 0.001)
    whole = Episode(
        instruction="touch the peak",
        session=session,
        actions=stream(seed, 2, stamps(20, seconds)),
        state=stream(seed + 1, 3, stamps(50, seconds), np.float64),
        sensors={"tip": stream(seed + 2, 4, stamps(100, seconds), np.float16)},
        cameras={
            "front": CameraStream(front, [picture(seed * 1000 + k) for k in range(len(front))]),
            "wrist": CameraStream(wrist, [picture(seed * 1000 + k, kind="PNG") for k in range(len(wrist))]),
        },
        absent={"tip": ["force"]},
        notes={"by": "hand", "take": seed},
    )
    return replace(whole, **changes)


def written(folder: Path, *episodes: Episode, robot: RobotSpec = ROBOT, source: Mapping[str, Any] = {}) -> EpisodeSet:
    """A set of these episodes in a new folder."""
    create_set(folder, robot, dict(source))
    writer = SetWriter(folder)
    for one in episodes:
        writer.add(one)
    return EpisodeSet(folder)
