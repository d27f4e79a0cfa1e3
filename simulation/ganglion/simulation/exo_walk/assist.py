"""What a wearer's own device would do: help hips and knees with a share of the torque it believes they need.

It knows what an exoskeleton knows: its joint angles, its insoles, its trunk's pitch and how it was fitted to the
wearer. From them it estimates the static torque of each joint: the ground's push through the loaded foot and the weight
of what hangs below the joint. It knows neither the plan, nor the wearer's torque, nor accelerations, and what it
reads is noisy, off by its fit, and a hop late. So its help can be wrong, and then it costs effort.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ganglion.simulation.exo_walk import body as anthropometry
from ganglion.simulation.exo_walk.body import Body, body
from ganglion.simulation.exo_walk.ground import Floats
from ganglion.simulation.exo_walk.walk import Walk

_GRAVITY = 9.81
# The ground pushes toward a point above the center of mass, the virtual pivot point of Maus et al. (2010).
_PIVOT = 0.2  # of body height


class Assist:
    """The device of one wearer."""

    def __init__(self, walk: Walk) -> None:
        fitted = walk.fit_error
        self._body: Body = body(walk.height_m * fitted, walk.mass_kg * fitted)
        self._pivot_m = _PIVOT * walk.height_m * fitted

    def torque(self, samples: npt.NDArray[np.float32], state: npt.NDArray[np.floating]) -> Floats:
        """(4,) N m to command, `state[1]` percent of the estimate.

        Args:
            samples: (13, 16) the last hop.
            state: (2,) trunk pitch in rad, assistance in percent.
        """
        torque: Floats = float(state[1]) / 100 * self.estimate(samples, state)
        return torque

    def estimate(self, samples: npt.NDArray[np.float32], state: npt.NDArray[np.floating]) -> Floats:
        """(4,) N m that hips and knees are believed to need from muscles and device together."""
        now = samples.astype(np.float64).mean(axis=0)
        trunk = float(state[0])
        legs = [self._leg(trunk, now[2 * side : 2 * side + 2], now[12 + 2 * side : 14 + 2 * side]) for side in (0, 1)]
        return np.concatenate(legs)

    def _leg(self, trunk: float, angles: Floats, soles: Floats) -> Floats:
        """(2,) of hip and knee; places are relative to the hip, x ahead and z up."""
        fit = self._body
        thigh = trunk - angles[0]
        shank = thigh + angles[1]
        knee = -fit.thigh_m * np.array([np.sin(thigh), np.cos(thigh)])
        ankle = knee - fit.shank_m * np.array([np.sin(shank), np.cos(shank)])
        load = float(soles.sum())
        under = (fit.heel_m * soles[0] + fit.ball_m * soles[1]) / max(load, 1.0)
        pressed = ankle + np.array([under, -fit.foot_height_m])
        pivot = self._pivot_m * np.array([np.sin(trunk), np.cos(trunk)])
        push = load * np.array([(pivot[0] - pressed[0]) / (pivot[1] - pressed[1]), 1.0])
        thigh_at = anthropometry.THIGH_CENTER * knee
        shank_at = knee + anthropometry.SHANK_CENTER * (ankle - knee)
        foot_at = ankle + np.array([fit.foot.center_m[0], 0.0])
        hip = _about(pressed, push) + _weight(thigh_at, fit.thigh.mass_kg)
        hip += _weight(shank_at, fit.shank.mass_kg) + _weight(foot_at, fit.foot.mass_kg)
        lower = _about(pressed - knee, push)
        lower += _weight(shank_at - knee, fit.shank.mass_kg) + _weight(foot_at - knee, fit.foot.mass_kg)
        # The joint must balance these moments: about +y for the hip's flexion, about -y for the knee's.
        return np.array([hip, -lower])


def _about(arm: Floats, force: Floats) -> float:
    """Moment about +y."""
    return float(arm[1] * force[0] - arm[0] * force[1])


def _weight(arm: Floats, mass: float) -> float:
    return _about(arm, np.array([0.0, -mass * _GRAVITY]))
