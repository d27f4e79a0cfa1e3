"""What one robot's cameras showed last: the newest frame of each, and the VL features that came of them."""

from __future__ import annotations

import io

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.images import upright_size
from ganglion.core.messages import Frame
from ganglion.core.specs import CameraSpec, RobotSpec
from ganglion.serving.policy.vl_encoder import VlFeatures
from ganglion.serving.policy.vl_refresh import VlRefresh, VlRequest

_FORMATS = ("JPEG", "PNG")  # Pillow knows many more, and runs another program to decode one of them


class Sight:
    """Frames come from any thread, features from a refresh thread; what it assigns is read once per hop.

    Args:
        robot: whose cameras they are.
        refresh: None for a robot without cameras.
    """

    def __init__(self, robot: RobotSpec, refresh: VlRefresh | None) -> None:
        self._robot, self._refresh = robot.name, refresh
        self._cameras = {camera.name: camera for camera in robot.cameras}
        self._frames: dict[str, Frame] = {}
        self.features: VlFeatures | None = None
        self.error: InputError | None = None
        """Why the newest frames could not be encoded; None where they were."""

    def show(self, frame: Frame, instruction: str) -> None:
        """Take a frame and return at once; encoded once every camera has sent one, the newest of each wins.

        Raises:
            InputError: the robot has no such camera, or the frame is no image of its size.
        """
        if self._refresh is None or frame.camera not in self._cameras:
            raise InputError(
                f"has no camera {frame.camera!r}",
                where=f"robot {self._robot}",
                remedy=f"send frames of {sorted(self._cameras)}",
            )
        _check_image(frame, self._cameras[frame.camera])
        self._frames[frame.camera] = frame
        frames = tuple(self._frames[name] for name in self._cameras if name in self._frames)
        if len(frames) == len(self._cameras):
            self._refresh.submit(id(self), VlRequest(frames, instruction, self._deliver))

    def settle(self) -> None:
        """Wait until the newest frames are encoded."""
        if self._refresh:
            self._refresh.settle(id(self))

    def close(self) -> None:
        """Drop what still waits to be encoded. Harmless when called twice."""
        if self._refresh:
            self._refresh.forget(id(self))

    def _deliver(self, found: VlFeatures | InputError) -> None:
        if isinstance(found, VlFeatures):
            self.features, self.error = found, None
        else:
            self.error = found


def _check_image(frame: Frame, camera: CameraSpec) -> None:
    """Look at the header only: decoding is the refresh threads' work."""
    try:
        with Image.open(io.BytesIO(frame.jpeg), formats=_FORMATS) as image:
            size = upright_size(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"frame is no image ({reason:.80})", where=f"camera {camera.name}") from None
    if size != (camera.width, camera.height):
        raise InputError(
            f"frame is {size[0]} x {size[1]} pixels, the spec says {camera.width} x {camera.height}",
            where=f"camera {camera.name}",
            remedy="scale it at the source",
        )
