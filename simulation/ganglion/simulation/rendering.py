"""Offscreen cameras of a MuJoCo world, made when they are first looked through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.specs import CameraSpec

Image = npt.NDArray[np.uint8]


def load_model(xml: str) -> Any:
    """Compile MuJoCo's XML. Rendering without a display is arranged for before MuJoCo is first imported.

    Raises:
        GanglionError: MuJoCo is not installed.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    # Mesa's software renderer takes a thread for each core otherwise, which for small images costs more than it saves.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    try:
        import mujoco
    except ImportError:
        raise GanglionError("MuJoCo is not installed", remedy="pip install 'ganglion[sim]'") from None
    return mujoco.MjModel.from_xml_string(xml)


class Eyes:
    """The cameras of a robot in a world that has a MuJoCo camera of each one's name.

    Args:
        model: of the world.
        data: its state, which is looked at whenever a frame is asked for.
        cameras: of the robot.
    """

    def __init__(self, model: Any, data: Any, cameras: Sequence[CameraSpec]) -> None:
        self._model, self._data = model, data
        self._cameras = {camera.name: camera for camera in cameras}
        self._renderers: dict[tuple[int, int], Any] = {}

    def look(self, name: str) -> Image:
        """What a camera sees now, (height, width, 3) uint8 RGB, without shadows.

        Raises:
            InputError: there is no such camera.
            GanglionError: nothing can be rendered on this machine.
        """
        import mujoco

        if name not in self._cameras:
            raise InputError(f"has no camera {name!r}", where="robot", remedy=f"use one of {list(self._cameras)}")
        renderer = self._renderer(self._cameras[name])
        renderer.update_scene(self._data, name)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        image: Image = renderer.render()
        return image

    def close(self) -> None:
        """Free the renderers; harmless when called twice."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _renderer(self, camera: CameraSpec) -> Any:
        import mujoco

        size = (camera.height, camera.width)
        if size not in self._renderers:
            try:
                self._renderers[size] = mujoco.Renderer(self._model, *size)
            except Exception as error:  # MuJoCo raises whatever the machine's OpenGL gives
                reason = " ".join(str(error).split())
                raise GanglionError(
                    f"nothing can be rendered ({reason:.120})",
                    remedy="install EGL (apt install libegl1 libgl1-mesa-dri), or set MUJOCO_GL=osmesa",
                ) from None
        return self._renderers[size]
