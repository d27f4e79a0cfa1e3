"""A sample source whose values tell where they belong: to check a wire end to end, and an example of a source.

Value of sample s, channel c: (s + c) % 2048, exact in float16.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.source import EndOfSamples

_PERIOD = 2048


class CountingSource:
    """Counts; on request it loses samples, stalls at some, fails at one, or comes to its end.

    lose      sequence numbers that never come
    stall_ms  pairs [sequence number, milliseconds] by which reading that sample is delayed
    fail_at   sequence number at which reading raises
    end_at    sequence number of the first sample that there is not
    """

    def __init__(
        self,
        robot: RobotSpec,
        lose: Sequence[int] = (),
        stall_ms: Sequence[tuple[int, float]] = (),
        fail_at: int | None = None,
        end_at: int | None = None,
    ) -> None:
        self._channels = robot.sensors[0].channels
        self._table = (np.arange(_PERIOD + self._channels) % _PERIOD).astype(np.float16)
        self._lose, self._stall_ms, self._fail_at, self._end_at = set(lose), dict(stall_ms), fail_at, end_at

    def read(self, seq: int, due_ns: int, into: npt.NDArray[np.floating]) -> int | None:
        """Sample `seq`, stamped with the time it was due."""
        if seq == self._fail_at:
            raise RuntimeError(f"asked to fail at sample {seq}")
        if seq == self._end_at:
            raise EndOfSamples("asked to end", where=f"sample {seq}")
        if seq in self._stall_ms:
            time.sleep(self._stall_ms[seq] * 1e-3)
        if seq in self._lose:
            return None
        into[:] = self.expected(seq)
        return due_ns

    def expected(self, seq: int) -> npt.NDArray[np.float16]:
        """(channels,) float16: what sample `seq` holds."""
        first = seq % _PERIOD
        return self._table[first : first + self._channels]

    def close(self) -> None:
        """Nothing to free."""
