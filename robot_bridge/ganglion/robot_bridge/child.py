"""The acquisition process as its parent sees it: started, waited for, and never survived by its segment."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.acquisition import AcquisitionConfig, AcquisitionReport
from ganglion.robot_bridge.ring import Ring
from ganglion.robot_bridge.segment import remove_abandoned
from ganglion.robot_bridge.source import EndOfSamples, SourceName

_PRIORITY = 50
_STOP_S = 5.0


class AcquisitionChild:
    """A running acquisition process and its ring; leaving the context ends the one and removes the other."""

    def __init__(
        self, robot: RobotSpec, source: SourceName, *, ring_seconds: float = 4.0, dtype: npt.DTypeLike = np.float16
    ) -> None:
        sensor = robot.sensors[0]
        remove_abandoned()
        with ExitStack() as stack:
            self.ring = Ring.create(int(ring_seconds * sensor.rate_hz), sensor.channels, dtype)
            stack.callback(self.ring.close)
            stack.callback(self.ring.unlink)
            self._output = stack.enter_context(tempfile.TemporaryFile("w+"))
            self._errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            self._wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            stack.callback(os.close, self._wake)
            config = AcquisitionConfig(self.ring.name, robot, source, wake_end, os.getpid(), _PRIORITY)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ganglion.robot_bridge.acquisition", config.to_json()],
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=self._errors,
                    pass_fds=(wake_end,),
                )
            finally:
                os.close(wake_end)
            self._poll = select.poll()
            self._poll.register(self._wake, select.POLLIN)
            self._held = stack.pop_all()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait(self, timeout_s: float) -> bool:
        """Wait for a hop to be written, at most `timeout_s`; a signal to this process may end the wait early.

        Returns:
            False if the time passed without one.

        Raises:
            EndOfSamples: the process has ended because its source came to its end; all samples are in the ring.
            GanglionError: the process has ended otherwise, naming how.
        """
        if not self._poll.poll(timeout_s * 1e3):
            return False
        if not os.read(self._wake, 4096):
            raise EndOfSamples("has no more samples", where="acquisition") if self._at_end() else self._ended()
        return True

    def stop(self) -> AcquisitionReport:
        """End the process and return what it reports.

        Raises:
            GanglionError: it had failed, or it left no report.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise GanglionError(
                f"did not end within {_STOP_S:g} s", where="acquisition", remedy="see whether its source blocks"
            ) from None
        if code != 0:
            raise self._ended()
        return self._report()

    def __enter__(self) -> AcquisitionChild:
        """Give the running child."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process by force if it still runs, and remove the segment."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._held.close()

    def _at_end(self) -> bool:
        try:
            return self._process.wait(_STOP_S) == 0 and self._report().ended
        except subprocess.TimeoutExpired:
            return False

    def _report(self) -> AcquisitionReport:
        self._output.seek(0)
        return AcquisitionReport(**json.loads(self._output.read().splitlines()[-1]))

    def _ended(self) -> GanglionError:
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            return GanglionError("closed its pipe but runs on", where="acquisition", remedy="start the bridge again")
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        if code < 0:
            reason = f"was ended by {signal.Signals(-code).name}"
        else:
            reason = lines[-1] if lines else f"ended with exit code {code}"
        kind = InputError if code == InputError.exit_code else GanglionError
        return kind(reason, where="acquisition", remedy=None if kind is InputError else "start the bridge again")


def wait_for_start(child: AcquisitionChild, timeout_s: float, stop: Sequence[str]) -> int:
    """Wait until acquisition runs; returns the monotonic ns at which sample 0 is due.

    Raises:
        GanglionError: it ended, did not start within `timeout_s`, or a signal was noted in `stop` before.
    """
    give_up = time.monotonic() + timeout_s
    while not child.ring.start_ns:
        try:
            child.wait(0.02)
        except EndOfSamples:
            break  # it has started, and ended already
        if stop:
            raise GanglionError(f"was ended by {stop[0]} before it started", where="acquisition")
        if time.monotonic() > give_up:
            raise GanglionError(
                f"did not start within {timeout_s:g} s", where="acquisition", remedy="see whether its source blocks"
            )
    return child.ring.start_ns
