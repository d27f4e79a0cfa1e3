"""Insertion: one case as a robot meets it. Actions in, samples and frames out, on a clock that steps make go on.

Equal cases and actions give equal samples and frames, to the bit, on one machine.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.simulation.insertion.case import Case, insertion_robot
from ganglion.simulation.insertion.optics import BINS, Tomograph
from ganglion.simulation.insertion.scene import SAMPLE_RATE_HZ, SUBSTEPS, scene_xml
from ganglion.simulation.insertion.tissue import Tissue
from ganglion.simulation.rendering import Eyes, load_model, load_mujoco, put_pose

FORCE_NOISE_N = 0.02
_DRIFT_HZ = 0.1
_MM_OF_JOINT = np.array([1e3, 1e3, 1e3, 1.0, 1.0, 1.0, 1e3])  # meters to the spec's units; radians stay

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]


class Insertion:
    """The world of one case.

    Args:
        case: what varies.
        robot: None for `insertion_robot()`; another may have other cameras, of which "wrist" and "scene" are there to
            look through, of any size up to LARGEST_PX; or no sensor, and then nothing is spent on what it would read.
    """

    def __init__(self, case: Case, robot: RobotSpec | None = None) -> None:
        mujoco = load_mujoco()
        self.case, self.robot = case, robot or insertion_robot()
        self.tissue = Tissue(case.layers)
        self.samples_taken = 0
        self.entry_mm: Floats | None = None  # where the tip first punctured the surface, (x, y)
        self._hop = round(SAMPLE_RATE_HZ / self.robot.actions.rate_hz)
        self._low, self._high = np.array(self.robot.actions.low), np.array(self.robot.actions.high)
        self._model = load_model(scene_xml(case))
        self._data = mujoco.MjData(self._model)
        self._tip, self._needle = self._model.site("tip").id, self._model.body("needle").id
        self._eyes = Eyes(self._model, self._data, self.robot.cameras)
        self._tomograph = Tomograph(case.optics, case.seed)
        self._noise = np.random.default_rng([case.seed, 1])
        self._range = self._model.jnt_range.T
        start = np.array(case.start) / _MM_OF_JOINT
        self._data.qpos[:], self._data.ctrl[:] = start, start
        mujoco.mj_forward(self._model, self._data)
        self._was = self.tip_mm

    @property
    def time_s(self) -> float:
        """Seconds since the beginning; sample number n is taken at (n + 1) / 650."""
        return self.samples_taken / SAMPLE_RATE_HZ

    @property
    def tip_mm(self) -> Floats:
        """Where the tip is, (3,): x and y from the middle of the block, z above its nominal surface."""
        return np.asarray(self._data.site_xpos[self._tip] * 1e3)

    @property
    def axis(self) -> Floats:
        """The direction in which the needle points, (3,) of length 1."""
        return np.asarray(-self._data.site_xmat[self._tip].reshape(3, 3)[:, 2])

    @property
    def depth_mm(self) -> float:
        """How deep the tip is below the surface at rest, along the needle; negative outside."""
        return float((self.tip_mm[2] - self.case.surface_mm) / self.axis[2])

    def step(self, action: npt.ArrayLike) -> Array:
        """Let the joints move with these velocities for one hop: (7,) -> samples (13, 1026) float32.

        A robot without a sensor gets (13, 0).

        Raises:
            InputError: the action has another shape, or is not finite. The world is as before.
        """
        import mujoco

        speed = np.asarray(action, np.float64)
        if speed.shape != self._low.shape or not np.isfinite(speed).all():
            raise InputError(
                f"has shape {speed.shape} and values {speed.round(3).tolist()}"[:120],
                where="action",
                remedy=f"give {len(self._low)} finite velocities",
            )
        advance = np.clip(speed, self._low, self._high) / _MM_OF_JOINT / (SUBSTEPS * SAMPLE_RATE_HZ)
        ahead, moved = np.empty((self._hop, len(self.case.layers.top_mm))), np.empty(self._hop)
        force = np.empty(self._hop)
        for sample in range(self._hop):
            for _ in range(SUBSTEPS):
                np.clip(self._data.ctrl + advance, *self._range, out=self._data.ctrl)
                force[sample] = self.tissue.move(self.depth_mm)
                self._data.xfrc_applied[self._needle, :3] = -force[sample] * self.axis
                mujoco.mj_step(self._model, self._data)
            mujoco.mj_kinematics(self._model, self._data)
            now = self.tip_mm
            if self.entry_mm is None and self.tissue.deepest:
                self.entry_mm = now[:2].copy()
            ahead[sample], moved[sample] = self.tissue.ahead_mm(), math.dist(now, self._was)
            self._was = now
        return self._read(force, ahead, moved)

    def state(self) -> Floats:
        """The robot's joints, (7,) in its spec's units."""
        return np.asarray(self._data.qpos * _MM_OF_JOINT)

    @property
    def done(self) -> bool:
        """False: it goes on for as long as it is stepped."""
        return False

    def frame(self, camera: str) -> npt.NDArray[np.uint8]:
        """What a camera of the robot's sees now, (height, width, 3) RGB.

        Raises:
            InputError: the robot has no such camera.
            GanglionError: nothing can be rendered on this machine.
        """
        import mujoco

        mujoco.mj_camlight(self._model, self._data)  # the wrist's has moved on with what carries it
        return self._eyes.look(camera)

    def pose(self) -> Floats:
        """Where the joints are, (7,) in MuJoCo's units: all that moves in what cameras see."""
        return np.array(self._data.qpos)

    def show(self, pose: npt.ArrayLike) -> None:
        """Put the joints where `pose` says, (7,), to look at; the tissue is not told.

        Raises:
            InputError: the pose has another shape.
        """
        import mujoco

        put_pose(self._data, pose)
        mujoco.mj_forward(self._model, self._data)

    def close(self) -> None:
        """Free what rendering holds; harmless when called twice."""
        self._eyes.close()

    def _read(self, force: Floats, ahead: Floats, moved: Floats) -> Array:
        times_s = (self.samples_taken + np.arange(self._hop)) / SAMPLE_RATE_HZ
        self.samples_taken += self._hop
        if not self.robot.sensors:
            return np.zeros((self._hop, 0), np.float32)
        drift = self.case.force_off_n + self.case.drift_n * np.sin(2 * np.pi * _DRIFT_HZ * times_s + self.case.seed)
        samples = np.empty((self._hop, 1 + BINS), np.float32)
        samples[:, 0] = force + drift + FORCE_NOISE_N * self._noise.standard_normal(self._hop)
        samples[:, 1:] = self._tomograph.read(ahead, moved)
        return samples
