"""The most memory that a process takes while something runs, beyond what it took before."""

from __future__ import annotations

import threading
from pathlib import Path

POLL_S = 0.02


def resident() -> dict[str, int]:
    """Bytes of this process in memory, all and those that are no file's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = {
        name: int(value.split()[0]) << 10
        for name, value in (line.split(":") for line in lines if line[:3] in ("VmR", "Rss"))
    }
    return {"all": found["VmRSS"], "own": found["RssAnon"]}


class Peak:
    """The most memory while something runs, looked at every few milliseconds.

    kept  bytes that were still taken when it had ended, less those at the start
    """

    def __enter__(self) -> Peak:
        self.most = self._start = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            self.most = {name: max(value, self.most[name]) for name, value in resident().items()}

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.kept = {name: value - self._start[name] for name, value in resident().items()}

    @property
    def beyond_start(self) -> dict[str, int]:
        """Bytes at the peak, less those at the start."""
        return {name: value - self._start[name] for name, value in self.most.items()}
