"""The bridge: acquisition process -> ring -> this sender -> policy host -> sink, and what each leg cost.

client = engine.session()                                     # any core.messages.PolicyClient
source = SourceName("ganglion.robot_bridge.counting:CountingSource")
report = Bridge(robot, source, client).run(seconds=20)
print(report.samples_lost, report.hop_to_action_ms)
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Hop, PolicyClient, Reply
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.acquisition import AcquisitionReport
from ganglion.robot_bridge.camera import CameraThread
from ganglion.robot_bridge.child import AcquisitionChild, wait_for_start
from ganglion.robot_bridge.measuring import Measuring
from ganglion.robot_bridge.pacing import RealTime, enter_real_time, leave_real_time
from ganglion.robot_bridge.report import BridgeReport
from ganglion.robot_bridge.ring import RingReader, Samples
from ganglion.robot_bridge.sink import LimitingSink
from ganglion.robot_bridge.source import EndOfSamples, FrameSource, SourceName, open_source

_PRIORITY = 40  # below acquisition's
_CHILD_START_S = 60.0  # a source may have much to load
_SILENCE_S = 2.0
_SWITCH_INTERVAL_S = 5e-4  # the sender waits at most this long for the camera thread to yield the interpreter


class Bridge:
    """One robot's bridge. The client stays open after a run; closing it is its maker's business.

    Args:
        robot: its one sensor and its cameras are streamed.
        source: makes the `SampleSource`, in the acquisition process.
        client: the policy host.
        sink: takes the replies; a `LimitingSink` without actuator if None.
        cameras: makes a `FrameSource` for each camera by name; a camera without one is not streamed.
        ring_seconds: how long the sender may stall before samples are lost.
        dtype: of the samples in the ring and in each hop, float16 or float32.
        startup_s: how long after sample 0 to wait for a first ready reply before measuring anyway.

    Raises:
        InputError: the robot has not exactly one sensor, or `cameras` names one that it doesn't have.
    """

    def __init__(
        self,
        robot: RobotSpec,
        source: SourceName,
        client: PolicyClient,
        sink: LimitingSink | None = None,
        *,
        cameras: Mapping[str, SourceName] | None = None,
        ring_seconds: float = 4.0,
        dtype: npt.DTypeLike = np.float16,
        startup_s: float = 10.0,
    ) -> None:
        if len(robot.sensors) != 1:
            raise InputError(f"has {len(robot.sensors)} sensors", where=f"robot {robot.name}", remedy="declare one")
        if unknown := sorted(set(cameras or {}) - {camera.name for camera in robot.cameras}):
            raise InputError(
                f"has no camera {unknown[0]!r}",
                where=f"robot {robot.name}",
                remedy=f"give sources for {[camera.name for camera in robot.cameras]}",
            )
        self._robot, self._source, self._client = robot, source, client
        self._sink = sink or LimitingSink(robot.actions)
        self._cameras = dict(cameras or {})
        self._ring_seconds, self._dtype, self._startup_s = ring_seconds, dtype, startup_s

    def run(self, seconds: float, on_reply: Callable[[Reply], None] | None = None) -> BridgeReport:
        """Stream for `seconds` after startup, or until a signal or the end of samples; `on_reply` sees every reply.

        Raises:
            InputError: a source can't be made, or a frame or sample does not fit the spec.
            GanglionError: acquisition ended or fell silent, or a camera failed. Nothing is left behind.
        """
        measuring = Measuring(self._robot, self._startup_s)
        with ExitStack() as stack:
            stop = stack.enter_context(_stop_signals())
            cameras = self._open_cameras(stack)
            child = stack.enter_context(
                AcquisitionChild(self._robot, self._source, ring_seconds=self._ring_seconds, dtype=self._dtype)
            )
            start_ns = wait_for_start(child, _CHILD_START_S, stop)
            measuring.begin(start_ns)
            for camera in cameras:
                camera.start(start_ns)
            granted = stack.enter_context(_real_time())
            reader = RingReader(child.ring)
            self._stream(child, reader, cameras, measuring, seconds, stop, on_reply)
            measuring.stop()
            for camera in cameras:
                camera.stop()
            acquisition = child.stop()
            return self._report(measuring, reader, acquisition, cameras, granted, stop)

    def _open_cameras(self, stack: ExitStack) -> list[CameraThread]:
        cameras = []
        for camera in self._robot.cameras:
            if camera.name in self._cameras:
                source: FrameSource = open_source(self._cameras[camera.name], self._robot)
                stack.callback(source.close)
                cameras.append(CameraThread(camera, source, self._client))
                stack.callback(cameras[-1].stop)
        return cameras

    def _stream(
        self,
        child: AcquisitionChild,
        reader: RingReader,
        cameras: list[CameraThread],
        measuring: Measuring,
        seconds: float,
        stop: list[str],
        on_reply: Callable[[Reply], None] | None,
    ) -> None:
        hop, most = self._robot.sensors[0].hop_samples, self._robot.sensors[0].window_samples
        heard = time.monotonic()
        while not stop and not measuring.done(seconds):
            boundary = reader.whole_hops(hop)
            if boundary <= reader.next_seq:
                try:
                    woken = child.wait(0.1)
                except EndOfSamples:
                    stop.append("end of samples")
                    return
                except GanglionError:
                    if stop:  # the signal went to the whole process group, and the child was quicker
                        return
                    raise
                if woken:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENCE_S:
                    raise GanglionError(
                        f"no samples for {_SILENCE_S:g} s", where="acquisition", remedy="see whether its source blocks"
                    )
                continue
            samples = reader.read(min(boundary, reader.next_seq // hop * hop + most))
            if samples is not None:
                self._answer(samples, measuring, on_reply)
            for camera in cameras:
                if camera.error:
                    raise camera.error

    def _answer(self, samples: Samples, measuring: Measuring, on_reply: Callable[[Reply], None] | None) -> None:
        read_ns = time.monotonic_ns()
        reply = self._client.send_hop(Hop(samples.first_seq, int(samples.stamps_ns[-1]), samples.values))
        answered_ns = time.monotonic_ns()
        if reply is None:
            measuring.buffered(samples)
            return
        applied = self._sink.apply(reply, answered_ns)
        measuring.answered(samples, reply, applied, (read_ns, answered_ns, time.monotonic_ns()))
        if on_reply:
            on_reply(reply)

    def _report(
        self,
        measuring: Measuring,
        reader: RingReader,
        acquisition: AcquisitionReport,
        cameras: list[CameraThread],
        granted: RealTime,
        stop: list[str],
    ) -> BridgeReport:
        return measuring.report(
            samples_expected=reader.next_seq,
            samples_received=reader.next_seq - reader.lost,
            samples_lost=reader.lost,
            samples_torn=reader.torn,
            frames_sent=sum(camera.sent for camera in cameras),
            frames_skipped=sum(camera.skipped for camera in cameras),
            scheduler=granted.scheduler,
            acquisition=acquisition,
            interrupted=stop[0] if stop else None,
        )


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """A list to which SIGINT and SIGTERM add their names, instead of ending the process; a second SIGINT does."""
    stop: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers; there, the caller decides
        return

    def note(number: int, _: object) -> None:
        if stop and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: the host may be stuck in a call
        stop.append(signal.Signals(number).name)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _real_time() -> Iterator[RealTime]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        yield enter_real_time(_PRIORITY, lock_memory=False)
    finally:
        leave_real_time()
        sys.setswitchinterval(interval)
