"""One camera: frames at its rate, JPEG-encoded on the robot, handed to the client by a thread of its own."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.images import encode_jpeg
from ganglion.core.messages import Frame, PolicyClient
from ganglion.core.specs import CameraSpec
from ganglion.robot_bridge.source import FrameSource


class CameraThread:
    """Runs from `start` to `stop`. A frame that is already overdue is skipped: only the newest image matters.

    sent     frames handed to the client
    skipped  frames not taken because the thread was late
    error    what ended the thread early, if something did
    """

    def __init__(self, camera: CameraSpec, source: FrameSource, client: PolicyClient) -> None:
        self._camera, self._source, self._client = camera, source, client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera-{camera.name}", daemon=True)
        self._start_ns = 0
        self.sent = self.skipped = 0
        self.error: Exception | None = None

    def start(self, start_ns: int) -> None:
        """Begin; frame times count from `start_ns` (monotonic), like sample 0."""
        self._start_ns = start_ns
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it. Harmless before `start`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        period_ns = 1e9 / self._camera.rate_hz
        index = 0
        try:
            while True:
                due = self._start_ns + round(index * period_ns)
                if self._stop.wait(max(0.0, (due - time.monotonic_ns()) / 1e9)):
                    return
                newest = int((time.monotonic_ns() - self._start_ns) / period_ns)
                if newest > index:
                    self.skipped += newest - index
                    index = newest
                    due = self._start_ns + round(index * period_ns)
                image = self._source.frame((due - self._start_ns) / 1e9)
                self._client.send_frame(Frame(self._camera.name, due, encode_frame(image, self._camera)))
                self.sent += 1
                index += 1
        except Exception as error:
            self.error = error


def encode_frame(image: npt.NDArray[np.uint8], camera: CameraSpec) -> bytes:
    """The (height, width, 3) uint8 RGB image as JPEG.

    Raises:
        InputError: it has another shape or type than the spec says.
    """
    expected = (camera.height, camera.width, 3)
    if image.shape != expected or image.dtype != np.uint8:
        raise InputError(
            f"gave {image.dtype} {image.shape}, the spec says uint8 {expected}",
            where=f"camera {camera.name}",
            remedy="correct the source or the spec",
        )
    return encode_jpeg(image)
