"""Camera frames as lossless video, and back.

H.264 of RGB at quantizer 0 gave every pixel back exactly; YUV 4:4:4 at quantizer 0 is up to 2 off, from the conversion,
and YUV 4:2:0, the format of recorders, up to 104. H.265, VP9 and FFV1 are exact too, but slower or larger (PyAV 18.1).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import overload

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.specs import CameraSpec
from ganglion.training.demonstrations.images import Pixels
from ganglion.training.demonstrations.lerobot.files import readable
from ganglion.training.demonstrations.lerobot.layout import AGAIN

STORED_AS = "gbrp"  # what an RGB picture is called in H.264
# To show one frame a reader decodes ten at most; none refers to a later one.
_OPTIONS = {"qp": "0", "preset": "veryfast", "g": "10", "bf": "0"}


class VideoWriter:
    """Writes one file.

    Args:
        path: the file, an .mp4.
        camera: whose frames.
        fps: frames per second.
    """

    def __init__(self, path: Path, camera: CameraSpec, fps: int) -> None:
        self._container = av.open(str(path), "w")
        stream = self._container.add_stream("libx264rgb", rate=fps, options=_OPTIONS)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "rgb24"
        self._stream, self._fps, self.frames = stream, fps, 0

    def write(self, pixels: Pixels) -> None:
        """Add a frame, (height, width, 3) uint8."""
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()


class VideoFrames(Sequence[bytes]):
    """Frames of a video file as PNG images, decoded each time they are asked for; go through them in order.

    Args:
        path: the file.
        times: seconds into the file at which each is shown, increasing.
        tolerance: seconds by which a frame may be off.
        camera: what it should look like.
        checksum: CRC-32 of all their pixels, if known. A damaged H.264 file mostly decodes without complaint.
    """

    def __init__(
        self,
        path: Path,
        times: npt.NDArray[np.float64],
        tolerance: float,
        camera: CameraSpec,
        checksum: int | None = None,
    ) -> None:
        self._path, self._times, self._tolerance, self._camera = path, times, tolerance, camera
        self._checksum = checksum

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        times = self._times[index if isinstance(index, slice) else [index]]
        images = list(VideoFrames(self._path, times, self._tolerance, self._camera))
        return images if isinstance(index, slice) else images[0]

    def __iter__(self) -> Iterator[bytes]:
        size, checksum = (self._camera.height, self._camera.width, 3), 0
        for pixels in frames_at(self._path, self._times, self._tolerance):
            if pixels.shape != size:
                raise InputError(f"has frames {pixels.shape}", where=self._path, remedy=f"meta/info.json says {size}")
            checksum = zlib.crc32(pixels.tobytes(), checksum)
            yield png(pixels)
        if self._checksum not in (None, checksum):
            raise InputError("shows other pixels than were written", where=self._path, remedy=AGAIN)


def frames_at(path: Path, times: npt.NDArray[np.float64], tolerance: float) -> Iterator[Pixels]:
    """The frames a video shows at some times.

    Args:
        path: the file.
        times: seconds into the file, increasing.
        tolerance: seconds by which a frame may be off.

    Yields:
        (height, width, 3) uint8 RGB.

    Raises:
        InputError: the file is missing or damaged, or shows nothing at one of the times.
    """
    with readable(path, "video", (av.FFmpegError,)), av.open(str(path)) as container:
        if not container.streams.video:
            raise InputError("is no whole video (it holds no pictures)", where=path, remedy=AGAIN)
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(max(0, int((times[0] - tolerance) / stream.time_base)), stream=stream)
        decoded = container.decode(stream)
        frame = next(decoded, None)
        for time in times.tolist():
            while frame is not None and (frame.time is None or frame.time < time - tolerance):
                frame = next(decoded, None)
            if frame is None or frame.time is None or frame.time > time + tolerance:
                raise InputError(f"shows no frame at {time:.3f} s", where=path, remedy=AGAIN)
            pixels: Pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            yield pixels


def png(pixels: Pixels) -> bytes:
    """The frame as a PNG image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
