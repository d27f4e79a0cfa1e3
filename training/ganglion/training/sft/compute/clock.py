"""Seconds of a device: between CUDA events on a GPU, of this process's threads on a CPU."""

from __future__ import annotations

import time
from typing import Any

import torch


class DeviceClock:
    """Time the device spends between `start` and `stop`, summed; taken out with `take`."""

    def __init__(self) -> None:
        self._on_gpu = torch.cuda.is_available()
        self._open: Any = None
        self._pairs: list[tuple[Any, Any]] = []
        self._seconds = 0.0

    @property
    def kind(self) -> str:
        """What the seconds are."""
        if self._on_gpu:
            return "GPU seconds between CUDA events at the start and end of each optimizer step"
        return "CPU seconds of the training process, all its threads, within optimizer steps"

    def start(self) -> None:
        """A step begins."""
        self._open = self._mark()

    def stop(self) -> None:
        """The step that was begun ends; nothing happens where none was."""
        if self._open is None:
            return
        if self._on_gpu:
            self._pairs.append((self._open, self._mark()))
            self._drain(wait=False)
        else:
            self._seconds += time.process_time() - self._open
        self._open = None

    def take(self) -> float:
        """Seconds since this was last called; waits for the steps that the GPU still works on."""
        self._drain(wait=True)
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.process_time()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no types for it
        event.record()
        return event

    def _drain(self, wait: bool) -> None:
        while self._pairs and (wait or self._pairs[0][1].query()):
            begin, end = self._pairs.pop(0)
            end.synchronize()
            self._seconds += begin.elapsed_time(end) / 1e3
