"""The wearer: who walks the planned gait with their own muscles, and gives way to the exoskeleton in part.

Each 650th of a second the wearer asks for the accelerations of the plan, corrected by the error in position and
velocity; finds the forces on the soles that would give the trunk its share of them, within what soles can do (they
push, and friction holds); and from both the torque of every joint (computed torque with contact forces). From that
torque the wearer takes off the exoskeleton's, as far as they give way to it and as late as nerves and muscles are.
What they don't give way to disturbs the gait, and its correction costs work as well. So assistance has no other way
to lower the wearer's effort than to supply, at the right time, torque that the body in motion needs.

No force but those of joints, soles and gravity acts on the body: if the feet can't hold it, it falls.

What it can't show: the wearer knows the ground and keeps to one plan, so help never changes how they walk; the body is
planar; and the exoskeleton weighs nothing, so wearing it without help costs nothing.
"""

from __future__ import annotations

import mujoco
import numpy as np

from ganglion.simulation.exo_walk.body import SOLE_RADIUS_M, Body
from ganglion.simulation.exo_walk.gait import Gait
from ganglion.simulation.exo_walk.ground import Floats, Ground
from ganglion.simulation.exo_walk.robot import SOLES

# Largest torque of hip, knee and ankle, N m per kg of body mass: the order of young adults' isometric maxima (for
# which see Anderson, Madigan and Nussbaum 2007), the same in flexion and extension.
_STRENGTH = np.array([2.6, 3.0, 2.2] * 2)
# From a change of the exoskeleton's torque to the muscles': a first-order lag of the order of reflex and activation
# (Zajac 1989 gives 10 to 60 ms for activation alone).
RESPONSE_S = 0.06
_STIFFNESS = np.array([40.0, 150.0, 80.0] + [300.0] * 6)  # 1/s2
_DAMPING = np.array([12.0, 25.0, 18.0] + [35.0] * 6)  # 1/s
# Of a loaded leg's joints, N m/rad and N m s/rad: found by trial, as little as keeps every terrain's soles in place.
_SPRING, _DAMPER = np.array([200.0, 200.0, 200.0] * 2), np.array([8.0, 8.0, 4.0] * 2)
_SCALE = np.array([1.0, 1.0, 2.0])  # of force and moment in the trunk's balance: 1 N weighs as 0.5 N m
_SOFTNESS = 1e-3 * np.eye(3)
_ROUNDS = 3
_SPARE = 0.05  # of a standing foot's sole that is planned without load: how freely it takes some


class Wearer:
    """The controller of one walk."""

    def __init__(
        self, model: mujoco.MjModel, body: Body, ground: Ground, gait: Gait, friction: float, yields: float
    ) -> None:
        self._model, self._gait, self._friction, self._yields = model, gait, friction, yields
        self._ground = ground
        self._sole_height = SOLE_RADIUS_M / np.cos(ground.slope_rad)
        self._limit = _STRENGTH * body.mass_kg
        self._soles = [model.geom(name).id for name in SOLES]
        self._bodies = [int(model.geom_bodyid[sole]) for sole in self._soles]
        self._jacobian = np.zeros((3, model.nv))
        self._contact = np.zeros((8, model.nv))
        self._needed = np.zeros(model.nv)
        self._planned, self._weight = _planned_forces(gait)
        self.felt = np.zeros(6)

    def torque(self, data: mujoco.MjData, tick: int, exo: Floats) -> Floats:
        """(6,) N m of the wearer's hips, knees and ankles now.

        Args:
            data: positions and velocities brought up to date by `mj_step1`.
            tick: index into the plan.
            exo: (6,) N m that the exoskeleton applies to the same joints.
        """
        gait = self._gait
        wanted = gait.acceleration[tick] + _DAMPING * (gait.velocity[tick] - data.qvel)
        data.qacc[:] = wanted + _STIFFNESS * (gait.q[tick] - data.qpos)
        mujoco.mj_rne(self._model, data, 1, self._needed)
        torque = self._needed[3:] - self._contact_torque(data, tick) + self._stiffness(data, tick)
        self.felt += (exo - self.felt) / (RESPONSE_S * 650.0)
        own: Floats = np.clip(torque - self._yields * self.felt, -self._limit, self._limit)
        return own

    def _stiffness(self, data: mujoco.MjData, tick: int) -> Floats:
        """(6,) what the joints of loaded legs hold their planned angles with, as reflexes and muscles do."""
        gait = self._gait
        share = np.repeat(gait.feet.share[tick], 3)
        spring = _SPRING * (gait.q[tick, 3:] - data.qpos[3:]) + _DAMPER * (gait.velocity[tick, 3:] - data.qvel[3:])
        held: Floats = share * spring
        return held

    def _contact_torque(self, data: mujoco.MjData, tick: int) -> Floats:
        """(6,) what the soles' forces contribute at the joints."""
        for row, (sole, body) in enumerate(zip(self._soles, self._bodies, strict=True)):
            mujoco.mj_jac(self._model, data, self._jacobian, None, data.geom_xpos[sole], body)
            self._contact[2 * row : 2 * row + 2] = self._jacobian[::2]
        standing = np.repeat(self._standing(data), 2)
        planned, weight = self._planned[tick] * standing, self._weight[tick] * standing
        torque: Floats = self._contact[:, 3:].T @ self._forces(planned, weight)
        return torque

    def _forces(self, planned: Floats, weight: Floats) -> Floats:
        """(8,) x and z on each sole: near the planned ones, and such that the trunk gets what it needs."""
        onto_trunk = self._contact[:, :3].T * _SCALE[:, None]
        needed = self._needed[:3] * _SCALE
        for _ in range(_ROUNDS):
            weighted = onto_trunk * weight
            gap = needed - onto_trunk @ planned
            force = planned + weighted.T @ np.linalg.solve(weighted @ onto_trunk.T + _SOFTNESS, gap)
            pulls = force[1::2] < 0
            if not pulls.any():
                break
            pushes = np.repeat(~pulls, 2)  # a sole can't pull: do without it
            planned, weight = planned * pushes, weight * pushes
        push = np.maximum(force[1::2], 0.0)
        force[1::2], hold = push, self._friction * push
        force[::2] = np.clip(force[::2], -hold, hold)
        on_soles: Floats = force
        return on_soles

    def _standing(self, data: mujoco.MjData) -> Floats:
        """(4,) whether each sole is on the ground: 1 on it, 0 from a millimeter above."""
        place = data.geom_xpos[self._soles]
        gap = place[:, 2] - self._ground.height(place[:, 0]) - self._sole_height
        standing: Floats = np.clip(1.0 - gap / 0.001, 0.0, 1.0)
        return standing


def _planned_forces(gait: Gait) -> tuple[Floats, Floats]:
    """(times, 8) planned force on each sole, x and z, and how freely the wearer changes it."""
    share = gait.feet.share[:, [0, 0, 1, 1]]
    ball = gait.feet.ball_share
    part = share * np.stack([1 - ball[:, 0], ball[:, 0], 1 - ball[:, 1], ball[:, 1]], axis=1)
    force = np.zeros((len(part), 8))
    force[:, ::2] = part * gait.force_x[:, None]
    force[:, 1::2] = part * gait.force_z[:, None]
    return force, np.repeat(part + _SPARE * (share > 0), 2, axis=1)
