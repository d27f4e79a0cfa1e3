"""One episode's block, marks, light and start, drawn by its seed; and the robot that all of them share.

The block's surface and its layers are drawn anew for each seed and can't be seen from outside: how deep to go is for
the tip to feel. Which of the marks to enter at, and in which layer to stop, is for the instruction to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ganglion.core.specs import ActionSpec, CameraSpec, ChannelGroup, RobotSpec, SensorSpec, StateSpec
from ganglion.simulation.insertion.optics import BINS, Optics
from ganglion.simulation.insertion.tissue import Layers

# Marks are printed tiles with a pale disc, and each color has a name: those by which the offline base with fine eyes
# knows such tiles (ganglion.model.offline.icons, a test compares), as a full-size model knows the icon of a printer.
# Its yellow and pink ones are not among them: under a strong light they fade into a pale block.
ICONS = {
    "cedar": (0.824, 0.176, 0.176),
    "eagle": (0.941, 0.549, 0.118),
    "grape": (0.235, 0.647, 0.255),
    "honey": (0.157, 0.745, 0.784),
    "jewel": (0.176, 0.314, 0.804),
    "lemon": (0.549, 0.235, 0.686),
}
LAYERS = ("first", "second", "third")
JOINTS = ("x", "y", "z", "rx", "ry", "rz", "feed")
_MARKS = 3
_FIELD_MM = 14.0  # marks lie this far from the middle at most, in x and in y
_APART_MM = 14.0
_NEAR_MM = 3.0  # deviation of the starts of glances that are near their mark
_FAR_MM = 18.0  # how far the others are from the middle at most, in x and in y

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Mark:
    """A tile on the block, named by its icon."""

    icon: str
    rgb: Color
    x_mm: float
    y_mm: float


@dataclass(frozen=True)
class Look:
    """What things look like, and where they are looked at from.

    block, table    their colors
    brightness      of the light
    light           where it is, in meters
    camera_off_m    how far the cameras are off their places
    camera_off_rad  how far the wrist camera is turned off
    """

    block: Color
    table: Color
    brightness: float
    light: tuple[float, float, float]
    camera_off_m: tuple[float, float, float]
    camera_off_rad: tuple[float, float, float]


@dataclass(frozen=True)
class Case:
    """All that varies.

    seed        names the case, and draws noise while it goes on
    marks       on the block
    chosen      index of the mark to enter at
    layer       index of the layer to stop in
    layers      of the block, a last one below all of LAYERS included
    optics      of the block
    surface_mm  how far the surface lies above its nominal height
    look        of the scene
    start       joints at the beginning: mm, and rad for rotations, (7,)
    force_off_n what the force sensor reads when nothing touches
    drift_n     how far that wanders, slowly
    """

    seed: int
    marks: tuple[Mark, ...]
    chosen: int
    layer: int
    layers: Layers
    optics: Optics
    surface_mm: float
    look: Look
    start: tuple[float, ...]
    force_off_n: float
    drift_n: float

    @property
    def instruction(self) -> str:
        """The goal in words."""
        return instruction(self.marks[self.chosen].icon, self.layer)


def instruction(icon: str, layer: int) -> str:
    """The goal in words, for a mark's icon and the index of a layer."""
    return f"Enter at the {icon} mark and stop in the {LAYERS[layer]} layer."


def draw_case(seed: int) -> Case:
    """The case of a seed; equal seeds give equal cases."""
    rng = np.random.default_rng([seed, 0])
    count = len(LAYERS) + 1
    thickness = np.array([2.0, 1.9, 2.2]) * rng.uniform(0.8, 1.25, count - 1)
    marks = _draw_marks(rng)
    return Case(
        seed=seed,
        marks=marks,
        chosen=int(rng.integers(len(marks))),
        layer=int(rng.integers(len(LAYERS))),
        layers=Layers(
            top_mm=(0.0, *np.cumsum(thickness).tolist()),
            stiffness_n_per_mm=_spread(rng, (0.6, 1.6, 0.9, 2.2), 0.2),
            stiffening_n_per_mm2=_spread(rng, (0.4, 1.0, 0.6, 1.2), 0.2),
            puncture_n=_spread(rng, (0.25, 0.7, 0.35, 1.4), 0.2),
            friction_n_per_mm=_spread(rng, (0.03, 0.05, 0.04, 0.06), 0.2),
            cutting_n=_spread(rng, (0.04, 0.12, 0.06, 0.2), 0.2),
        ),
        optics=Optics(
            scattering=_spread(rng, (0.26, 0.90, 0.48, 0.14), 0.15),
            attenuation_per_mm=_spread(rng, (0.25, 0.45, 0.35, 0.3), 0.2),
            reflection=_spread(rng, (2.6, 1.8, 1.5, 2.2), 0.3),
        ),
        surface_mm=float(rng.uniform(-2.0, 2.0)),
        look=_draw_look(rng),
        start=(
            *rng.uniform(-12, 12, 2).tolist(),
            float(rng.uniform(-8, 0)),
            *rng.uniform(-0.08, 0.08, 2).tolist(),
            *rng.uniform(-0.2, 0.2, 1).tolist(),
            0.0,
        ),
        force_off_n=float(rng.uniform(-0.1, 0.1)),
        drift_n=float(rng.uniform(0.01, 0.04)),
    )


def glance(case: Case, number: int) -> Case:
    """The same scene with another goal and another start: for a short look at it, not for a whole episode.

    Three numbers in a row name all marks and all layers, nine in a row each layer at each mark. Every other start or so
    is near the mark, the rest are all over the workspace, above the block.
    """
    order = np.random.default_rng([case.seed, 3])
    marks, layers = order.permutation(len(case.marks)), order.permutation(len(LAYERS))
    chosen = int(marks[number % len(marks)])
    mark, rng = case.marks[chosen], np.random.default_rng([case.seed, 4, number])
    near = rng.uniform() < 0.5
    place = rng.normal((mark.x_mm, mark.y_mm), _NEAR_MM) if near else rng.uniform(-_FAR_MM, _FAR_MM, 2)
    return replace(
        case,
        chosen=chosen,
        layer=int(layers[(number + number // len(marks)) % len(LAYERS)]),
        start=(
            *place.tolist(),
            float(rng.uniform(-17, 0)),
            *rng.uniform(-0.08, 0.08, 2).tolist(),
            *rng.uniform(-0.2, 0.2, 1).tolist(),
            0.0,
        ),
    )


def insertion_robot() -> RobotSpec:
    """The robot: cameras of 256 and 112 px at 10 Hz, force + 1025-bin A-scan at 650 Hz, 7 joints moved at 50 Hz."""
    units = ("mm", "mm", "mm", "rad", "rad", "rad", "mm")
    high = (20.0, 20.0, 20.0, 0.5, 0.5, 0.5, 10.0)
    return RobotSpec(
        name="insertion",
        cameras=(
            CameraSpec("wrist", height=256, width=256, rate_hz=10.0),
            CameraSpec("scene", height=112, width=112, rate_hz=10.0),
        ),
        sensors=(
            SensorSpec("tip", (ChannelGroup("force", 1, "N"), ChannelGroup("a_scan", BINS, "dB")), rate_hz=650.0),
        ),
        actions=ActionSpec(
            names=("vx", "vy", "vz", "wx", "wy", "wz", "feed"),
            units=tuple(f"{unit}/s" for unit in units),
            low=tuple(-limit for limit in high),
            high=high,
            max_rate=tuple(10 * limit for limit in high),
            rate_hz=50.0,
        ),
        state=StateSpec(names=JOINTS, units=units, rate_hz=50.0),
    )


def _draw_marks(rng: np.random.Generator) -> tuple[Mark, ...]:
    places: list[np.ndarray] = []
    while len(places) < _MARKS:
        place = rng.uniform(-_FIELD_MM, _FIELD_MM, 2)
        if all(np.hypot(*(place - other)) >= _APART_MM for other in places):
            places.append(place)
    icons = rng.permutation(list(ICONS))[:_MARKS].tolist()
    return tuple(
        Mark(icon, _tinted(rng, ICONS[icon], 0.06), float(x), float(y))
        for icon, (x, y) in zip(icons, places, strict=True)
    )


def _draw_look(rng: np.random.Generator) -> Look:
    block = np.array([0.90, 0.76, 0.68]) * rng.uniform(0.75, 1.05)
    return Look(
        block=_tinted(rng, tuple(block.tolist()), 0.06),
        table=_tinted(rng, (0.5, 0.55, 0.6), 0.2),
        brightness=float(rng.uniform(0.45, 0.75)),
        light=(*rng.uniform(-0.3, 0.3, 2).tolist(), 0.6),
        camera_off_m=tuple(rng.uniform(-0.001, 0.001, 3).tolist()),
        camera_off_rad=tuple(rng.uniform(-0.01, 0.01, 3).tolist()),
    )


def _tinted(rng: np.random.Generator, rgb: Color, by: float) -> Color:
    return tuple(np.clip(np.array(rgb) + rng.uniform(-by, by, 3), 0.02, 0.98).tolist())


def _spread(rng: np.random.Generator, middle: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple((np.array(middle) * rng.uniform(1 - by, 1 + by, len(middle))).tolist())
