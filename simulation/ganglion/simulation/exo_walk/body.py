"""The wearer's body: lengths, masses and inertias of seven segments from height and mass.

Fractions of height and mass, centers of mass and radii of gyration are those of Winter, *Biomechanics and Motor
Control of Human Movement* (4th edition, 2009), figure 4.1 and table 4.1, which go back to Drillis and Contini (1966)
and Dempster (1955). Head, arms and trunk are one segment.
"""

from __future__ import annotations

from dataclasses import dataclass

THIGH, SHANK, FOOT_HEIGHT, FOOT_LENGTH = 0.245, 0.246, 0.039, 0.152  # of height
TRUNK_MASS, THIGH_MASS, SHANK_MASS, FOOT_MASS = 0.678, 0.100, 0.0465, 0.0145  # of mass
# Center of mass from the upper joint and radius of gyration about it, both of the segment's length.
THIGH_CENTER, THIGH_GYRATION = 0.433, 0.323
SHANK_CENTER, SHANK_GYRATION = 0.433, 0.302
FOOT_CENTER, FOOT_GYRATION = 0.5, 0.475
TRUNK_LENGTH, TRUNK_CENTER, TRUNK_GYRATION = 0.288, 0.626, 0.496  # hip to shoulder, of height

SOLE_RADIUS_M = 0.02  # of the two spheres that a shoe stands on: its heel and its ball
_ANKLE_FROM_HEEL, _HEEL_PAD, _BALL = 0.25, 0.03, 0.72  # of foot length, from the heel's end


@dataclass(frozen=True)
class Segment:
    """A rigid part: kg, kg m2 about its own center, and where that is in the part's frame, (x, z) m."""

    mass_kg: float
    inertia_kgm2: float
    center_m: tuple[float, float]


@dataclass(frozen=True)
class Body:
    """A wearer. Thigh and shank hang down from their joint, the foot points ahead, the trunk stands up."""

    mass_kg: float
    thigh_m: float
    shank_m: float
    foot_height_m: float
    heel_m: float
    ball_m: float
    trunk: Segment
    thigh: Segment
    shank: Segment
    foot: Segment

    @property
    def leg_m(self) -> float:
        """Hip to ankle with a straight knee."""
        return self.thigh_m + self.shank_m


def body(height_m: float, mass_kg: float, thigh_scale: float = 1.0, shank_scale: float = 1.0) -> Body:
    """The body of a height (m) and mass (kg); the scales lengthen or shorten thigh and shank."""
    thigh, shank = THIGH * height_m * thigh_scale, SHANK * height_m * shank_scale
    foot, trunk = FOOT_LENGTH * height_m, TRUNK_LENGTH * height_m
    ankle = FOOT_HEIGHT * height_m
    foot_center = (FOOT_CENTER - _ANKLE_FROM_HEEL) * foot
    return Body(
        mass_kg=mass_kg,
        thigh_m=thigh,
        shank_m=shank,
        foot_height_m=ankle,
        heel_m=(_HEEL_PAD - _ANKLE_FROM_HEEL) * foot,
        ball_m=(_BALL - _ANKLE_FROM_HEEL) * foot,
        trunk=_segment(TRUNK_MASS * mass_kg, TRUNK_GYRATION * trunk, (0.0, TRUNK_CENTER * trunk)),
        thigh=_segment(THIGH_MASS * mass_kg, THIGH_GYRATION * thigh, (0.0, -THIGH_CENTER * thigh)),
        shank=_segment(SHANK_MASS * mass_kg, SHANK_GYRATION * shank, (0.0, -SHANK_CENTER * shank)),
        foot=_segment(FOOT_MASS * mass_kg, FOOT_GYRATION * foot, (foot_center, -0.5 * ankle)),
    )


def _segment(mass: float, gyration: float, center: tuple[float, float]) -> Segment:
    return Segment(mass, mass * gyration**2, center)
