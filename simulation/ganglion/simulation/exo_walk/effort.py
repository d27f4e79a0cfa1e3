"""What a walk costs the wearer, and what the exoskeleton and the ground do to it: sums of mechanical work.

Net effort weighs the wearer's own joint work by what muscles burn for it: positive work is done at 25 percent
efficiency, negative work at 120 percent (Margaria 1968), so each joule costs 4 J and 0.83 J. Power counts joint by
joint; a joint that brakes doesn't pay for one that pushes. It leaves out torque held without motion, muscles that span
two joints or work against each other, and what tendons give back. So it compares walks with one another: in absolute
terms level walking costs here some three times what it costs people.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ganglion.simulation.exo_walk.ground import Floats

POSITIVE_EFFICIENCY, NEGATIVE_EFFICIENCY = 0.25, 1.2


@dataclass(frozen=True)
class Effort:
    """Sums since the start, or over a part of a walk by `since`.

    seconds, distance_m, height_m   time, the hip's way ahead and up
    positive_j, negative_j          the wearer's joint work; `negative_j` is 0 or less
    torque_squared                  the wearer's squared joint torques over time, (N m)^2 s
    assist_j                        the exoskeleton's net work on the joints
    ground_j                        work of the ground on the soles, 0 or less where contact takes energy up
    energy_j                        change of kinetic and potential energy
    """

    seconds: float = 0.0
    distance_m: float = 0.0
    height_m: float = 0.0
    positive_j: float = 0.0
    negative_j: float = 0.0
    torque_squared: float = 0.0
    assist_j: float = 0.0
    ground_j: float = 0.0
    energy_j: float = 0.0

    @property
    def net_j(self) -> float:
        """What the wearer's joint work costs, J."""
        return self.positive_j / POSITIVE_EFFICIENCY - self.negative_j / NEGATIVE_EFFICIENCY

    def since(self, earlier: Effort) -> Effort:
        """What came after `earlier`, an effort of the same walk."""
        return Effort(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})


@dataclass(frozen=True)
class Summary:
    """A whole walk. Efforts of two walks compare only if both are `finished`: who falls early has done little work.

    peak_torque_nm   the largest torque that the exoskeleton applied to a joint
    peak_rate_nm_s   the fastest that it changed
    """

    effort: Effort
    finished: bool
    fallen: bool
    peak_torque_nm: float
    peak_rate_nm_s: float


class Work:
    """Running sums of work and of the exoskeleton's peaks."""

    def __init__(self) -> None:
        self._sums = np.zeros(5)
        self.peak_torque_nm, self.peak_rate_nm_s = 0.0, 0.0

    def add(self, seconds: float, own: Floats, exo: Floats, ground: Floats, velocity: Floats) -> None:
        """Count a physics step.

        Args:
            seconds: its length.
            own: (6,) the wearer's torques.
            exo: (6,) the exoskeleton's on the same joints.
            ground: (9,) generalized forces of contact.
            velocity: (9,) mean of those before and after the step, which makes work exact for a free mass.
        """
        power = own * velocity[3:]
        positive = float(power[power > 0].sum())
        assist = float(exo @ velocity[3:])
        rows = [positive, float(power.sum()) - positive, float(own @ own), assist, float(ground @ velocity)]
        self._sums += seconds * np.array(rows)

    def watch(self, before: Floats, after: Floats, seconds: float) -> None:
        """Note the exoskeleton's torques, (4,) before and after `seconds`."""
        self.peak_torque_nm = max(self.peak_torque_nm, float(np.abs(after).max()))
        self.peak_rate_nm_s = max(self.peak_rate_nm_s, float(np.abs(after - before).max()) / seconds)

    def effort(self, seconds: float, way: Floats, energy_j: float) -> Effort:
        """The sums so far; `way` is (2,) m ahead and up."""
        positive, negative, squared, assist, ground = (float(value) for value in self._sums)
        ahead, up = (float(value) for value in way)
        return Effort(seconds, ahead, up, positive, negative, squared, assist, ground, energy_j)
