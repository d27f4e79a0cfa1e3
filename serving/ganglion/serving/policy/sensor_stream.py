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
        self._encoder, self._scale, self._hop, self._receptive = (
            encoder,
            scale,
            sensor.hop_samples,
            part.receptive_frames,
        )
        most_hops, shapes = sensor.window_frames, {i.name: i.shape for i in encoder.get_inputs()}
        channels, width = len(scale.mean), int(encoder.get_outputs()[0].shape[2])
        self._recorded = np.ones((1, most_hops + 1, shapes["present"][2]), np.float32)
        # One hop more than is encoded at once: what is left of a broken hop waits at the front.
        self._samples = np.zeros((1, (most_hops + 1) * self._hop, channels), np.float32)
        self._absolute = np.empty_like(self._samples[0])
        self._waiting = 0
        self._zeros = {
            name: np.zeros((1, *shapes[name][1:]), np.int64 if name == "seen" else np.float32) for name in _STATE
        }
        self._state = dict(self._zeros)
        self._frames = np.zeros((1, part.read_frames, width), np.float32)
        self._seen = 0

    def reset(self) -> None:
        """Forget everything: the next sample is the first."""
        self._state, self._waiting, self._seen = dict(self._zeros), 0, 0
        self._frames = np.zeros_like(self._frames)

    @property
    def waiting(self) -> int:
        """Samples of a hop that is not whole yet."""
        return self._waiting

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
        frames, usable, first = 0, True, 0
        while first < len(samples):
            start = time.perf_counter()
            count = min(len(samples) - first, self._samples.shape[1] - self._waiting)
            usable &= self._take(samples[first : first + count])
            first += count
            taken = time.perf_counter()
            frames += self._encode()
            _add(timings_ms, "preprocess", taken - start)
            _add(timings_ms, "encoder", time.perf_counter() - taken)
        return frames, usable

    def _take(self, samples: npt.NDArray[np.floating]) -> bool:
        """Normalize samples to behind those that wait; False if some had to be replaced."""
        end = self._waiting + len(samples)
        rows, absolute = self._samples[0, self._waiting : end], self._absolute[: len(samples)]
        self._waiting = end
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(samples, self._scale.mean, out=rows, dtype=np.float32)
            np.divide(rows, self._scale.std, out=rows)
        np.abs(rows, out=absolute)
        if absolute.max(initial=0.0) < LARGEST:  # False for NaN, too
            return True
        rows[~(absolute < LARGEST)] = 0.0
        return False

    def _encode(self) -> int:
        """Encode the whole hops that wait; returns how many there were."""
        count = self._waiting // self._hop
        if not count:
            return 0
        whole = count * self._hop
        feeds = {"samples": self._samples[:, :whole], "present": self._recorded[:, :count], **self._state}
        new, *state = self._encoder.run(None, feeds)
        self._state = dict(zip(_STATE, state, strict=True))
        left = self._waiting - whole
        self._samples[0, :left] = self._samples[0, whole : self._waiting].copy()
        self._waiting = left
        self._frames = np.concatenate([self._frames, new], axis=1)[:, -self._frames.shape[1] :]
        self._seen += count
        return count


def _add(timings_ms: dict[str, float], leg: str, seconds: float) -> None:
    timings_ms[leg] = timings_ms.get(leg, 0.0) + 1e3 * seconds
