"""Offscreen cameras of a MuJoCo world, made when they are first looked through.

MuJoCo's own Renderer makes an OpenGL context for each world and size, which costs as much as fifty small frames. Here
all worlds of a thread share one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError, MissingExtra
from ganglion.core.specs import CameraSpec

_MAX_GEOMS = 1000
_OF_THREAD = threading.local()

Image = npt.NDArray[np.uint8]


def load_mujoco() -> Any:
    """The package mujoco. How it renders is settled when it is first imported: here, without a display.

    Raises:
        MissingExtra: MuJoCo is not installed.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    # Mesa's software renderer takes a thread for each core otherwise, which for small images costs more than it saves.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    try:
        import mujoco
    except ImportError:
        raise MissingExtra("mujoco", "sim") from None
    return mujoco


def load_model(xml: str) -> Any:
    """Compile MuJoCo's XML.

    Raises:
        MissingExtra: MuJoCo is not installed.
    """
    return load_mujoco().MjModel.from_xml_string(xml)


def put_pose(data: Any, pose: npt.ArrayLike) -> None:
    """Give a world's MjData the coordinates of a pose.

    Raises:
        InputError: the pose has another shape.
    """
    coordinates = np.asarray(pose, np.float64)
    if coordinates.shape != data.qpos.shape:
        raise InputError(f"pose has shape {coordinates.shape}", remedy=f"give one of this world's, {data.qpos.shape}")
    data.qpos[:] = coordinates


class Eyes:
    """The cameras of a robot in a world that has a MuJoCo camera of each one's name; for one thread.

    Args:
        model: of the world; its offscreen buffer (offwidth, offheight) must hold the largest image.
        data: its state, which is looked at whenever a frame is asked for.
        cameras: of the robot.
    """

    def __init__(self, model: Any, data: Any, cameras: Sequence[CameraSpec]) -> None:
        self._model, self._data = model, data
        self._cameras = {camera.name: camera for camera in cameras}
        self._context: Any = None
        self._scene: Any = None

    def look(self, name: str) -> Image:
        """What a camera sees now, (height, width, 3) uint8 RGB, without shadows.

        Raises:
            InputError: there is no such camera.
            GanglionError: nothing can be rendered on this machine.
        """
        import mujoco

        if name not in self._cameras:
            raise InputError(f"has no camera {name!r}", where="robot", remedy=f"use one of {list(self._cameras)}")
        camera, view = self._cameras[name], mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(name).id
        self._make_current()
        mujoco.mjv_updateScene(
            self._model, self._data, mujoco.MjvOption(), None, view, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        rect = mujoco.MjrRect(0, 0, camera.width, camera.height)
        image = np.empty((camera.height, camera.width, 3), np.uint8)
        mujoco.mjr_render(rect, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, rect, self._context)
        return image[::-1].copy()  # OpenGL's rows begin at the bottom

    def close(self) -> None:
        """Free what rendering holds; harmless when called twice."""
        if self._context is not None:
            _opengl().make_current()
            self._context.free()
        self._context = self._scene = None

    def _make_current(self) -> None:
        import mujoco

        try:
            _opengl().make_current()
            if self._context is None:
                self._scene = mujoco.MjvScene(self._model, maxgeom=_MAX_GEOMS)
                self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        except Exception as error:  # MuJoCo raises whatever the machine's OpenGL gives
            reason = " ".join(str(error).split())
            raise GanglionError(
                f"nothing can be rendered ({reason:.120})",
                remedy="install EGL (apt install libegl1 libgl1-mesa-dri), or set MUJOCO_GL=osmesa",
            ) from None


def _opengl() -> Any:
    """This thread's OpenGL context, made once."""
    if not hasattr(_OF_THREAD, "context"):
        import mujoco

        _OF_THREAD.context = mujoco.GLContext(1, 1)  # its own buffer is not drawn to
    return _OF_THREAD.context
