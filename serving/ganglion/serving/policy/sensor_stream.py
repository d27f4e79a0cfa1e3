"""One robot's samples on their way through the encoder: normalized, cut into whole hops, encoded with carried state."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.manifest import PolicyPart
from ganglion.core.normalization import Scale
from ganglion.core.specs import SensorSpec

Array = npt.NDArray[np.float32]
LARGEST = 1e6  # standard deviations; beyond this the encoder's float32 arithmetic could overflow and poison its state
_STATE = ("conv_state", "kv_state", "seen")


class SensorStream:
    """The carried state of one stream, and the newest frames it gave.

    Values that are not finite, or absurdly far out, count as the training mean: the state stays finite, and the hop is
    reported.

    Args:
        encoder: session of sensor_stream.onnx.
        scale: normalization of the samples.
        sensor: what a hop is; one call of the graph gets a window at most.
        part: how many of the newest frames are kept, and after how many they no longer depend on the beginning.
    """

    def __init__(self, encoder: Any, scale: Scale, sensor: SensorSpec, part: PolicyPart) -> None:
        self._encoder, self._scale, self._hop = encoder, scale, sensor.hop_samples
        self._receptive = part.receptive_frames
        shapes = {i.name: i.shape for i in encoder.get_inputs()}
        channels, width = len(scale.mean), int(encoder.get_outputs()[0].shape[2])
        self._window = sensor.window_frames * self._hop
        self._recorded = np.ones((1, sensor.window_frames + 1, shapes["present"][2]), np.float32)
        self._left = np.empty((0, channels), np.float32)  # normalized, of a hop that is not whole yet
        self._zeros = {
            name: np.zeros((1, *shapes[name][1:]), np.int64 if name == "seen" else np.float32) for name in _STATE
        }
        self._state = dict(self._zeros)
        self._frames = np.zeros((1, part.read_frames, width), np.float32)
        self._seen = 0

    def reset(self) -> None:
        """Forget everything: the next sample is the first."""
        self._state, self._left, self._seen = dict(self._zeros), self._left[:0], 0
        self._frames = np.zeros_like(self._frames)

    @property
    def waiting(self) -> int:
        """Samples of a hop that is not whole yet."""
        return len(self._left)

    @property
    def warm(self) -> bool:
        """Whether the newest frames no longer depend on where the stream began."""
        return self._seen >= self._receptive

    @property
    def newest_frames(self) -> Array:
        """(1, read_frames, width): the newest frames, oldest first; zeros before the stream began."""
        return self._frames

    def push(self, samples: npt.NDArray[np.floating], timings_ms: dict[str, float]) -> tuple[int, bool]:
        """Take (n, channels) samples and encode the whole hops there are now.

        Adds to `timings_ms`: "preprocess" and "encoder".

        Returns:
            how many new frames there are, and whether every value was usable.
        """
        frames, usable = 0, True
        for first in range(0, len(samples), self._window):
            start = time.perf_counter()
            rows, good = self._normalized(samples[first : first + self._window])
            usable &= good
            taken = time.perf_counter()
            frames += self._encode(rows)
            _add(timings_ms, "preprocess", taken - start)
            _add(timings_ms, "encoder", time.perf_counter() - taken)
        return frames, usable

    def _normalized(self, samples: npt.NDArray[np.floating]) -> tuple[Array, bool]:
        """What waits, and samples normalized behind it; False if some of these had to be replaced."""
        waiting = len(self._left)
        rows = np.empty((waiting + len(samples), self._left.shape[1]), np.float32)
        rows[:waiting] = self._left
        new = rows[waiting:]
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(samples, self._scale.mean, out=new, dtype=np.float32)
            np.divide(new, self._scale.std, out=new)
        absolute = np.abs(new)
        if absolute.max(initial=0.0) < LARGEST:  # False for NaN, too
            return rows, True
        new[~(absolute < LARGEST)] = 0.0
        return rows, False

    def _encode(self, rows: Array) -> int:
        """Encode the whole hops of (n, channels) rows, and keep what is left; returns how many there were."""
        count = len(rows) // self._hop
        whole = count * self._hop
        self._left = rows[whole:].copy()
        if not count:
            return 0
        feeds = {"samples": rows[None, :whole], "present": self._recorded[:, :count], **self._state}
        new, *state = self._encoder.run(None, feeds)
        self._state = dict(zip(_STATE, state, strict=True))
        self._frames = np.concatenate([self._frames, new], axis=1)[:, -self._frames.shape[1] :]
        self._seen += count
        return count


def _add(timings_ms: dict[str, float], leg: str, seconds: float) -> None:
    timings_ms[leg] = timings_ms.get(leg, 0.0) + 1e3 * seconds
