"""Whether a policy in Triton still serves: each of its processes tells so, twice a second, in the server's metrics.

Triton itself goes on saying that it is ready, and that the model is, when the process of a python model has died or a
thread in it; every robot is refused from then on (seen with 2.51). `ganglion serve policy` ends such a server.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable

from ganglion.serving.binding import LOCAL
from ganglion.serving.policy.metrics import READY

_EVERY_S = 2.0
_SILENT_S = 10.0  # twenty times what is usual: a busy machine is no dead process
_TOLD = re.compile(rf'^{READY.name}{{process="([^"]+)"}} (\S+)$', re.MULTILINE)


class Pulse:
    """Feels for the pulse of every process that has shown one.

    Args:
        read: the text of the server's metrics; OSError where there is none.
        clock: seconds, monotonic. What processes tell is only compared with what they told before, for the time of
            day may be set.
    """

    def __init__(self, read: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock, self._next_s = read, clock, 0.0
        self._last: dict[str, tuple[str, float]] = {}  # process -> (what it told, when it was seen first)

    def problem(self) -> str | None:
        """What is wrong, in words; None where nothing is, or it was not time to look."""
        now = self._clock()
        if now < self._next_s:
            return None
        self._next_s = now + _EVERY_S
        try:
            told = dict(_TOLD.findall(self._read()))
        except (OSError, http.client.HTTPException):
            return None  # whether the server runs is seen elsewhere
        for process, value in told.items():
            before, since_s = self._last.get(process, ("", now))
            self._last[process] = (value, now if value != before else since_s)
        silent = [process for process, (_, since_s) in self._last.items() if now - since_s > _SILENT_S]
        return f"{', '.join(silent)} can't serve any more" if silent else None


def read_metrics(port: int) -> str:
    """The text of a server's metrics on this machine.

    Raises:
        OSError: nothing answers there.
    """
    connection = http.client.HTTPConnection(LOCAL, port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
