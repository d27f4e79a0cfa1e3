"""ExoWalk: a wearer with a hip and knee exoskeleton on a virtual clock, over the ground of one walk.

Physics is forward dynamics in MuJoCo at 1300 Hz: planar, soft contacts at heel and ball, torques on joints, nothing
else. One `step` is 20 ms: 13 samples at 650 Hz. The same walk and the same actions give the same bits.

    walk = draw_walk(3)
    world, device = ExoWalk(walk, exo_walk_robot()), Assist(walk)
    world.set_assistance(10)
    action = np.zeros(4)
    while not world.done:
        action = device.torque(world.step(action), world.state())
    print(world.summary())

A walk that is only looked at need not be walked: `show` puts the wearer into a posture, such as one of the plan.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import CameraSpec, RobotSpec
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS
from ganglion.simulation.exo_walk.body import Body, body
from ganglion.simulation.exo_walk.effort import Effort, Summary, Work
from ganglion.simulation.exo_walk.feet import RATE_HZ
from ganglion.simulation.exo_walk.footsteps import footsteps
from ganglion.simulation.exo_walk.gait import gait
from ganglion.simulation.exo_walk.ground import Floats, ground
from ganglion.simulation.exo_walk.mjcf import PHYSICS_HZ, compile_walk
from ganglion.simulation.exo_walk.outlook import View, terrain_ahead
from ganglion.simulation.exo_walk.readings import Readings
from ganglion.simulation.exo_walk.robot import SOLES
from ganglion.simulation.exo_walk.walk import Walk
from ganglion.simulation.exo_walk.wearer import Wearer
from ganglion.simulation.rendering import Eyes, put_pose

HOP = 13
MOTOR_S = 0.01  # first-order lag from commanded to applied torque
ASSISTED = np.array([0, 1, 3, 4])  # hips and knees among the wearer's six joints
_FALLEN_M = 0.25
_SIDE = CameraSpec("side", height=240, width=320, rate_hz=50.0)


class ExoWalk:
    """One walk from its start to its end."""

    def __init__(self, walk: Walk, robot: RobotSpec) -> None:
        self.walk, self.robot = walk, robot
        self.body: Body = body(walk.height_m, walk.mass_kg, walk.thigh_scale, walk.shank_scale)
        self.ground = ground(walk)
        self.steps = footsteps(walk, self.ground, self.body)
        self.gait = gait(self.steps, self.ground, self.body, float(np.deg2rad(walk.lean_deg)))
        self.model = compile_walk(walk, self.body, self.ground)
        self.data = mujoco.MjData(self.model)
        self.assistance_percent = 0.0
        self.felt = np.zeros((HOP, 16), np.float32)  # the last hop's samples, before the first all zero
        self._wearer = Wearer(self.model, self.body, self.ground, self.gait, walk.friction, walk.yields)
        self._readings, self._work = Readings(walk), Work()
        self._soles = {self.model.geom(name).id: index for index, name in enumerate(SOLES)}
        self._eyes = Eyes(self.model, self.data, (*robot.cameras, _SIDE))
        # The plan starts and ends on a made-up posture; the walk is what lies a stride inside it.
        self._tick = self._start = self._tick_of(3)
        self._last = self._start + (self._tick_of(-3) - self._start) // HOP * HOP
        self.data.qpos[:], self.data.qvel[:] = self.gait.q[self._start], self.gait.velocity[self._start]
        mujoco.mj_forward(self.model, self.data)
        self._energy, self._begin = self._total_energy(), self.data.qpos[:2].copy()
        self._exo, self._command, self._own = np.zeros(4), np.zeros(4), np.zeros(6)

    @property
    def time_s(self) -> float:
        """Seconds walked; sample number n is taken at (n + 1) / 650."""
        return (self._tick - self._start) / RATE_HZ

    @property
    def on_terrain_s(self) -> float:
        """When the first foot lands on the terrain, on the clock of `time_s`."""
        return (self._tick_of(self.steps.on_terrain) - self._start) / RATE_HZ

    @property
    def walked(self) -> tuple[int, int]:
        """The first row of the plan `gait` that is walked, and the first that no longer is."""
        return self._start, self._last

    @property
    def fallen(self) -> bool:
        """Whether the hip is farther from its plan than a walker gets back from."""
        off = self.data.qpos[:2] - self.gait.q[self._tick, :2]
        return not float(np.hypot(*off)) < _FALLEN_M

    @property
    def done(self) -> bool:
        """Whether the walk is over: the planned steps are walked, or the wearer has fallen."""
        return self._tick >= self._last or self.fallen

    def step(self, action: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Walk 20 ms with a command; return (13, 16) float32 samples in the order of the robot's sensor.

        Args:
            action: (4,) N m. Limits and largest rates of the robot's actions are kept here as well.

        Raises:
            InputError: the walk is over, or an action that is not four finite numbers.
        """
        if self.done:
            raise InputError("the walk is over", where="exo walk", remedy="start another ExoWalk")
        start, target = self._command, self._target(action)
        samples = np.empty((HOP, 16))
        for index in range(HOP):
            self._command = start + (target - start) * (index + 1) / HOP
            self._walk_tick()
            samples[index] = self._sample()
        self.felt = self._readings.read(samples)
        return self.felt

    def set_assistance(self, percent: float) -> None:
        """Tell the device how much to help; it goes into `state` and changes nothing by itself.

        Raises:
            InputError: outside the limits of exo_assist.
        """
        low, high = ASSISTANCE_LIMITS
        if not low <= percent <= high:
            raise InputError(f"assistance {percent} percent", where="exo walk", remedy=f"give {low} to {high}")
        self.assistance_percent = float(percent)

    def state(self) -> Floats:
        """(2,) trunk pitch in rad, off by the walk's offset, and the assistance that was set, in percent."""
        pitch = self.data.qpos[2] + self.walk.pitch_offset_rad
        return np.array([pitch, self.assistance_percent])

    def frame(self, camera: str = "forward") -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8 of a camera of the robot, or of "side", which only people look through.

        Raises:
            InputError: no such camera.
            GanglionError: nothing can be rendered on this machine.
        """
        self._place_bodies()
        return self._eyes.look(camera)

    def terrain_ahead(self) -> str | None:
        """What a frame of the forward camera shows now, by the rule of `outlook`; None where that is ambiguous."""
        self._place_bodies()
        camera = self.data.camera("forward")
        x, _, z = (float(value) for value in camera.xpos)
        axis = -camera.xmat.reshape(3, 3)[:, 2]
        half = np.deg2rad(self.walk.look.field_of_view_deg) / 2
        view = View(x, z, float(np.arctan2(axis[2], axis[0])), float(half))
        return terrain_ahead(self.walk.terrain, self.ground, float(self.data.qpos[0]), view)

    def pose(self) -> Floats:
        """(9,) the wearer's coordinates, in m and rad: all that moves in what cameras see."""
        return np.array(self.data.qpos)

    def show(self, pose: npt.ArrayLike) -> None:
        """Put the wearer into a posture, (9,) as of `pose` or a row of `gait.q`, to look at; the walk is not told.

        Raises:
            InputError: the pose has another shape.
        """
        put_pose(self.data, pose)

    def close(self) -> None:
        """Free what rendering holds; harmless when called twice."""
        self._eyes.close()

    def effort(self) -> Effort:
        """Work, way and energy since the start."""
        way = self.data.qpos[:2] - self._begin
        return self._work.effort(self.time_s, way, self._total_energy() - self._energy)

    def summary(self) -> Summary:
        """How the walk went so far."""
        finished = self._tick >= self._last and not self.fallen
        peaks = self._work.peak_torque_nm, self._work.peak_rate_nm_s
        return Summary(self.effort(), finished, self.fallen, *peaks)

    def _place_bodies(self) -> None:
        """Bring bodies and cameras to where the wearer is: a physics step leaves them where they were before it."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _tick_of(self, foothold: int) -> int:
        """When a foot lands there, as an index into the plan."""
        return round(float(self.steps.land_s[foothold] - self.steps.land_s[1]) * RATE_HZ)

    def _target(self, action: npt.ArrayLike) -> Floats:
        wanted = np.asarray(action, np.float64)
        if wanted.shape != (4,) or not np.isfinite(wanted).all():
            raise InputError(
                f"action {action!r} is not four finite numbers", where="exo walk", remedy="give a torque per joint"
            )
        actions = self.robot.actions
        most = np.asarray(actions.max_rate) / actions.rate_hz
        target: Floats = np.clip(np.clip(wanted, actions.low, actions.high), self._command - most, self._command + most)
        return target

    def _walk_tick(self) -> None:
        """One sample's time: two physics steps under one torque."""
        before = self._exo
        self._exo = before + (self._command - before) / (MOTOR_S * RATE_HZ)
        self._work.watch(before, self._exo, 1 / RATE_HZ)
        exo = np.zeros(6)
        exo[ASSISTED] = self._exo
        for substep in (0, 1):
            mujoco.mj_step1(self.model, self.data)
            if substep == 0:
                self._own = self._wearer.torque(self.data, self._tick, exo)
                self.data.ctrl[:6], self.data.ctrl[6:] = self._own, self._exo
            velocity = self.data.qvel.copy()
            mujoco.mj_step2(self.model, self.data)
            mean = (velocity + self.data.qvel) / 2
            self._work.add(1 / PHYSICS_HZ, self._own, exo, self.data.qfrc_constraint, mean)
        self._tick += 1

    def _sample(self) -> Floats:
        """(16,) true values of the sensor's channels."""
        joints = 3 + ASSISTED
        force, found = np.zeros(4), np.zeros(6)
        for index, contact in enumerate(self.data.contact):
            sole = self._soles.get(contact.geom2, self._soles.get(contact.geom1))
            if sole is not None:
                mujoco.mj_contactForce(self.model, self.data, index, found)
                force[sole] += found[0]
        return np.concatenate([self.data.qpos[joints], self.data.qvel[joints], self._exo, force])

    def _total_energy(self) -> float:
        self._place_bodies()
        mujoco.mj_makeM(self.model, self.data)
        mujoco.mj_energyPos(self.model, self.data)
        mujoco.mj_energyVel(self.model, self.data)
        return float(self.data.energy.sum())
