"""ExoWalk: a wearer with a hip and knee exoskeleton on a virtual clock, over the ground of one walk.

Physics is forward dynamics in MuJoCo at 1300 Hz: planar, soft contacts at heel and ball, torques on joints, nothing
else. One `step` is 20 ms: 13 samples at 650 Hz. The same walk and the same actions give the same bits.

    walk = draw_walk(3)
    with_help = ExoWalk(walk, exo_walk_robot())
    samples = with_help.step(np.zeros(4))
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS
from ganglion.simulation.exo_walk.body import Body, body
from ganglion.simulation.exo_walk.effort import Effort
from ganglion.simulation.exo_walk.feet import RATE_HZ
from ganglion.simulation.exo_walk.footsteps import footsteps
from ganglion.simulation.exo_walk.gait import gait
from ganglion.simulation.exo_walk.ground import Floats, ground
from ganglion.simulation.exo_walk.mjcf import PHYSICS_HZ, compile_walk
from ganglion.simulation.exo_walk.readings import Readings
from ganglion.simulation.exo_walk.robot import SOLES
from ganglion.simulation.exo_walk.walk import Walk
from ganglion.simulation.exo_walk.wearer import Wearer

HOP = 13
MOTOR_S = 0.01  # first-order lag from commanded to applied torque
_ASSISTED = np.array([0, 1, 3, 4])  # of the six joints
_FALLEN_M = 0.25


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
        self._wearer = Wearer(self.model, self.body, self.ground, self.gait, walk.friction, walk.yields)
        self._readings = Readings(walk)
        self._soles = {self.model.geom(name).id: index for index, name in enumerate(SOLES)}
        self._renderer: mujoco.Renderer | None = None
        # The plan's ends are at rest on one foot; the walk is what lies a stride inside them.
        first = round((self.steps.land_s[3] - self.steps.land_s[1]) * RATE_HZ)
        last = round((self.steps.land_s[-3] - self.steps.land_s[1]) * RATE_HZ)
        self._tick, self._last = first, first + (last - first) // HOP * HOP
        self._start = first
        self.data.qpos[:], self.data.qvel[:] = self.gait.q[first], self.gait.velocity[first]
        mujoco.mj_forward(self.model, self.data)
        self._energy = self._total_energy()
        self._begin = self.data.qpos[:2].copy()
        self._exo, self._command, self._own = np.zeros(4), np.zeros(4), np.zeros(6)
        self._sums = np.zeros(5)
        self.peak_torque_nm, self.peak_rate_nm_s = 0.0, 0.0
        self.assistance_percent = 0.0

    @property
    def seconds(self) -> float:
        """Time walked."""
        return (self._tick - self._start) / RATE_HZ

    @property
    def on_terrain_s(self) -> float:
        """When the first foot lands on the terrain, on the clock of `seconds`."""
        return float(self.steps.land_s[self.steps.on_terrain] - self.steps.land_s[1]) - self._start / RATE_HZ

    @property
    def fallen(self) -> bool:
        """Whether the hip is farther from its plan than a walker gets back from."""
        off = self.data.qpos[:2] - self.gait.q[self._tick, :2]
        return bool(np.hypot(*off) > _FALLEN_M or not np.isfinite(off).all())

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
        target = self._target(action)
        start = self._command
        samples = np.empty((HOP, 16))
        for index in range(HOP):
            self._command = start + (target - start) * (index + 1) / HOP
            self._walk_tick()
            samples[index] = self._sample()
        self._command = target
        return self._readings.read(samples)

    def set_assistance(self, percent: float) -> None:
        """Tell the device how much to help; it goes into `state` and changes nothing by itself.

        Raises:
            InputError: outside the limits of exo_assist.
        """
        low, high = ASSISTANCE_LIMITS
        if not low <= percent <= high:
            raise InputError(f"assistance {percent} percent", where="exo walk", remedy=f"give {low} to {high}")
        self.assistance_percent = float(percent)

    def state(self) -> npt.NDArray[np.float32]:
        """(2,) trunk pitch in rad and the assistance that was set, in percent."""
        return np.array([self.data.qpos[2], self.assistance_percent], np.float32)

    def frame(self, camera: str = "forward") -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8 of a camera of the robot, or of "side", which only people look through.

        Raises:
            InputError: no such camera.
        """
        spec = next((spec for spec in self.robot.cameras if spec.name == camera), None)
        if spec is None and camera != "side":
            raise InputError(f"no camera {camera!r}", where="exo walk", remedy="use the robot spec's names")
        height, width = (spec.height, spec.width) if spec else (240, 320)
        if self._renderer is None or (self._renderer.height, self._renderer.width) != (height, width):
            self.close()
            self._renderer = mujoco.Renderer(self.model, height, width)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._renderer.update_scene(self.data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def effort(self) -> Effort:
        """Work, way and energy since the start."""
        positive, negative, squared, assist, soles = self._sums
        way = self.data.qpos[:2] - self._begin
        return Effort(
            seconds=self.seconds,
            distance_m=float(way[0]),
            height_m=float(way[1]),
            positive_j=float(positive),
            negative_j=float(negative),
            torque_squared=float(squared),
            assist_j=float(assist),
            ground_j=float(soles),
            energy_j=self._total_energy() - self._energy,
        )

    def _target(self, action: npt.ArrayLike) -> Floats:
        wanted = np.asarray(action, np.float64)
        if wanted.shape != (4,) or not np.isfinite(wanted).all():
            raise InputError(f"action {action!r} is not four finite numbers", where="exo walk")
        actions = self.robot.actions
        most = np.asarray(actions.max_rate) / actions.rate_hz
        wanted = np.clip(wanted, actions.low, actions.high)
        target: Floats = np.clip(wanted, self._command - most, self._command + most)
        return target

    def _walk_tick(self) -> None:
        """One sample's time: two physics steps under one torque."""
        before = self._exo
        self._exo = before + (self._command - before) / (MOTOR_S * RATE_HZ)
        self.peak_torque_nm = max(self.peak_torque_nm, float(np.abs(self._exo).max()))
        self.peak_rate_nm_s = max(self.peak_rate_nm_s, float(np.abs(self._exo - before).max()) * RATE_HZ)
        exo = np.zeros(6)
        exo[_ASSISTED] = self._exo
        for substep in (0, 1):
            mujoco.mj_step1(self.model, self.data)
            if substep == 0:
                self._own = self._wearer.torque(self.data, self._tick, exo)
                self.data.ctrl[:6], self.data.ctrl[6:] = self._own, self._exo
            velocity = self.data.qvel.copy()
            mujoco.mj_step2(self.model, self.data)
            self._count(exo, (velocity + self.data.qvel) / 2)
        self._tick += 1

    def _count(self, exo: Floats, velocity: Floats) -> None:
        """Add one physics step's work; the mean of the velocities before and after makes it exact for a free mass."""
        power, step = self._own * velocity[3:], 1 / PHYSICS_HZ
        positive = float(power[power > 0].sum())
        self._sums += step * np.array(
            [
                positive,
                float(power.sum()) - positive,
                float(self._own @ self._own),
                float(exo @ velocity[3:]),
                float(self.data.qfrc_constraint @ velocity),
            ]
        )

    def _sample(self) -> Floats:
        """(16,) true values of the sensor's channels."""
        joints = 3 + _ASSISTED
        force = np.zeros(4)
        found = np.zeros(6)
        for index, contact in enumerate(self.data.contact):
            mujoco.mj_contactForce(self.model, self.data, index, found)
            sole = self._soles.get(contact.geom2, self._soles.get(contact.geom1))
            if sole is not None:
                force[sole] += found[0]
        return np.concatenate([self.data.qpos[joints], self.data.qvel[joints], self._exo, force])

    def _total_energy(self) -> float:
        mujoco.mj_energyPos(self.model, self.data)
        mujoco.mj_energyVel(self.model, self.data)
        return float(self.data.energy.sum())
