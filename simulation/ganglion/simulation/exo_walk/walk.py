"""All that varies from one walk to the next, drawn from a seed: ground, wearer, pace, light, camera and sensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.core.errors import InputError
from ganglion.core.tasks.exo_rules import TERRAINS

Color = tuple[float, float, float]
Pair = tuple[float, float]

# Walking speed, m/s along the ground: less where it is steep. Stairs are walked tread by tread at the step time below.
_SPEED: dict[str, Pair] = {
    "flat": (1.05, 1.35),
    "uphill_moderate": (0.95, 1.2),
    "uphill_steep": (0.75, 0.95),
}
_STAIR_STEP_TIME: Pair = (0.62, 0.75)  # s
_SLOPE_DEG: dict[str, Pair] = {"uphill_moderate": (5.0, 8.0), "uphill_steep": (10.0, 15.0)}
_LEAN_DEG: dict[str, Pair] = {
    "flat": (2.0, 5.0),
    "stairs_up": (8.0, 14.0),
    "stairs_down": (1.0, 4.0),
    "uphill_moderate": (4.0, 8.0),
    "uphill_steep": (8.0, 13.0),
}


@dataclass(frozen=True)
class Look:
    """How the world looks: colors are RGB from 0 to 1, angles degrees."""

    ground: Color
    riser: Color
    grain: Color
    sky: Color
    haze: Color
    posts: Color
    nosing: bool
    tile_m: float
    light: float
    sun_azimuth_deg: float
    sun_elevation_deg: float
    texture_seed: int
    camera_height: float  # above the hip, of the trunk's length
    camera_pitch_deg: float  # below the trunk's own forward
    field_of_view_deg: float


@dataclass(frozen=True)
class Walk:
    """One walk. Lengths in m, masses in kg, times in s, angles in degrees.

    yields         what share of the exoskeleton's torque the wearer gives way to, see `wearer`
    fit_error      by what factor the device's idea of the wearer's leg lengths and mass is off
    *_offset_*     what the trunk's pitch, the torque sensors and the angle sensors are off by
    force_gain     what the foot force sensors multiply by
    """

    seed: int
    terrain: str
    start_m: float
    rise_m: float
    run_m: float
    slope_deg: float
    height_m: float
    mass_kg: float
    thigh_scale: float
    shank_scale: float
    speed_m_s: float
    step_time_s: float
    stance_share: float
    lean_deg: float
    yields: float
    friction: float
    fit_error: float
    pitch_offset_rad: float
    torque_offset_nm: tuple[float, ...]
    angle_offset_rad: tuple[float, ...]
    force_gain: tuple[float, ...]
    look: Look


def draw_walk(seed: int, terrain: str | None = None) -> Walk:
    """The walk of a seed.

    Args:
        seed: 0 or more; the same seed draws the same walk.
        terrain: a key of `exo_rules.TERRAINS`, or None to draw that too. The rest is as without it.

    Raises:
        InputError: an unknown terrain or a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}", where="exo walk", remedy="give 0 or more")
    if terrain is not None and terrain not in TERRAINS:
        raise InputError(f"no terrain {terrain!r}", where="exo walk", remedy=f"use one of {list(TERRAINS)}")
    rng = np.random.default_rng([seed, 0])
    drawn = list(TERRAINS)[int(rng.integers(len(TERRAINS)))]
    kind = terrain or drawn
    return Walk(
        seed=seed,
        terrain=kind,
        start_m=_draw(rng, (2.0, 3.2)),
        rise_m=_draw(rng, (0.15, 0.19)),
        run_m=_draw(rng, (0.28, 0.32)),
        slope_deg=_draw(rng, _SLOPE_DEG.get(kind, (0.0, 0.0))),
        height_m=_draw(rng, (1.58, 1.85)),
        mass_kg=_draw(rng, (55.0, 95.0)),
        thigh_scale=_draw(rng, (0.97, 1.03)),
        shank_scale=_draw(rng, (0.97, 1.03)),
        speed_m_s=_draw(rng, _SPEED.get(kind, _SPEED["flat"])),
        step_time_s=_draw(rng, _STAIR_STEP_TIME),
        stance_share=_draw(rng, (0.61, 0.645)),
        lean_deg=_draw(rng, _LEAN_DEG[kind]),
        yields=_draw(rng, (0.8, 1.0)),
        friction=_draw(rng, (0.9, 1.2)),
        fit_error=_draw(rng, (0.96, 1.04)),
        pitch_offset_rad=_draw(rng, (-0.01, 0.01)),
        torque_offset_nm=_several(rng, 0.3, 4),
        angle_offset_rad=_several(rng, np.deg2rad(1.0), 4),
        force_gain=tuple(1.0 + error for error in _several(rng, 0.03, 4)),
        look=_look(rng),
    )


def _look(rng: np.random.Generator) -> Look:
    gray = rng.uniform(0.3, 0.75)
    ground = np.clip(gray + rng.normal(0, 0.06, 3), 0.1, 0.95)
    return Look(
        ground=_color(ground),
        riser=_color(np.clip(ground * rng.uniform(0.55, 0.9), 0.05, 0.95)),
        grain=_color(np.clip(ground * rng.uniform(0.7, 0.9), 0.05, 0.95)),
        sky=_color(rng.uniform((0.35, 0.5, 0.7), (0.6, 0.75, 0.95))),
        haze=_color(rng.uniform(0.75, 0.95, 3)),
        posts=_color(rng.uniform(0.1, 0.9, 3)),
        nosing=bool(rng.random() < 0.5),
        tile_m=_draw(rng, (0.3, 0.8)),
        light=_draw(rng, (0.45, 0.8)),
        sun_azimuth_deg=_draw(rng, (-150.0, 150.0)),
        sun_elevation_deg=_draw(rng, (30.0, 65.0)),
        texture_seed=int(rng.integers(1 << 31)),
        camera_height=_draw(rng, (0.3, 0.75)),
        camera_pitch_deg=_draw(rng, (18.0, 30.0)),
        field_of_view_deg=_draw(rng, (60.0, 72.0)),
    )


def _draw(rng: np.random.Generator, between: Pair) -> float:
    return float(rng.uniform(*between))


def _several(rng: np.random.Generator, spread: float, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in rng.normal(0.0, spread, count))


def _color(rgb: np.ndarray) -> Color:
    return float(rgb[0]), float(rgb[1]), float(rgb[2])
