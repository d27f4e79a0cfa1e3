"""What a walk costs the wearer, and what the exoskeleton and the ground do to it: sums of mechanical work.

Net effort weighs the wearer's own joint work by what muscles burn for it: positive work is done at 25 percent
efficiency, negative work at 120 percent (Margaria 1968), so each joule costs 4 J and 0.83 J. Power counts joint by
joint; a joint that brakes doesn't pay for one that pushes. What it leaves out: torque held without motion, muscles
that span two joints or work against each other, and what springs in tendons give back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

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
