"""Images of the ground before a walker, for exo_assist: one path that is level, stepped or sloped, seen from the body.

The class is in the geometry alone. Color, light, camera, width, surroundings, clutter, noise and blur are drawn at
random and say nothing about it. Numpy and Pillow only; the same (terrain, seed, index, size) gives the same pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ganglion.core.tasks.exo_assist import TERRAINS
from ganglion.training.data.exo.camera import Array, Camera, Pixels

DEFAULT_SIZE = 112
SLOPE_DEGREES = {"flat": (-0.2, 0.2), "uphill_moderate": (10.0, 12.5), "uphill_steep": (20.0, 26.0)}
_OVERSAMPLING = 2
_NEAR_METERS, _FAR_METERS = 0.3, 60.0
_APART = 45  # of 255, in at least one channel
_SKIES = ((165, 195, 235), (205, 210, 215), (235, 215, 195), (120, 150, 200))
_GROUNDS = ((85, 120, 65), (130, 110, 80), (150, 150, 120), (95, 95, 100), (60, 95, 60))
_PATHS = ((150, 150, 150), (185, 175, 160), (170, 130, 105), (120, 125, 135), (205, 200, 190))
_THINGS = ((120, 80, 60), (60, 90, 60), (170, 60, 50), (70, 80, 110), (200, 190, 170), (50, 50, 50))


@dataclass(frozen=True)
class _Strip:
    """A flat piece of the path between two cross lines. kind: "ground", "riser" or "tread"."""

    near: tuple[float, float]  # y, z in meters
    far: tuple[float, float]
    kind: str

    @property
    def incline(self) -> float:
        """Radians; 0 for risers and treads."""
        (ya, za), (yb, zb) = self.near, self.far
        return math.atan2(zb - za, yb - ya) if self.kind == "ground" else 0.0


class _Canvas:
    """An image being painted from far to near, with the camera that projects onto it."""

    def __init__(self, camera: Camera, background: Pixels) -> None:
        self.camera = camera
        self.image = Image.fromarray(background.clip(0, 255).astype(np.uint8))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[tuple[float, float, float]], color: Array) -> None:
        self._draw.polygon(self._pixels(points), fill=_rgb(color))

    def line(self, points: list[tuple[float, float, float]], color: Array, meters: float) -> None:
        """A line as wide as `meters` at its nearest point."""
        nearest = min(math.hypot(y, z - self.camera.height_meters) for _, y, z in points)
        width = max(1, round(self.camera.focal_pixels * meters / max(nearest, 0.5)))
        self._draw.line(self._pixels(points), fill=_rgb(color), width=width, joint="curve")

    def ball(self, center: tuple[float, float, float], meters: float, color: Array) -> None:
        (u, v), (u2, _) = self._pixels([center, (center[0] + meters, *center[1:])])
        r = abs(u2 - u)
        self._draw.ellipse([u - r, v - r, u + r, v + r], fill=_rgb(color))

    def _pixels(self, points: list[tuple[float, float, float]]) -> list[tuple[float, float]]:
        return [(float(u), float(v)) for u, v in self.camera.project(np.array(points))]


def render_terrain(terrain: str, seed: int, index: int, size: int = DEFAULT_SIZE) -> Image.Image:
    """An RGB image (size, size) of that terrain.

    Args:
        terrain: a key of `core.tasks.exo_assist.TERRAINS`.
        seed: names the data set.
        index: names the image in it.
        size: edge in pixels.
    """
    rng = np.random.default_rng([seed, index, list(TERRAINS).index(terrain)])
    camera = _camera(rng, size * _OVERSAMPLING)
    ground = _pick(rng, _GROUNDS)
    path = _pick_apart(rng, _PATHS, ground)
    canvas = _Canvas(camera, _backdrop(rng, camera, ground))
    _paint_skyline(rng, canvas)
    strips = _stairs(rng, terrain == "stairs_up") if terrain.startswith("stairs") else _slope(rng, terrain)
    half_width = rng.uniform(0.6, 1.4)
    sun = rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)  # sloping ground is lit otherwise than level ground
    _paint_surroundings(rng, canvas, strips, half_width, ground, sun)
    _paint_path(rng, canvas, strips, half_width, path, sun)
    _paint_things(rng, canvas, strips, half_width)
    return _expose(rng, canvas.image, size)


def _camera(rng: np.random.Generator, size: int) -> Camera:
    return Camera(
        size=size,
        height_meters=rng.uniform(1.2, 1.5),
        pitch=math.radians(rng.uniform(12, 19)),
        roll=math.radians(rng.uniform(-2, 2)),
        yaw=math.radians(rng.uniform(-2, 2)),
        fov=math.radians(rng.uniform(59, 65)),
        offset_meters=rng.uniform(-0.25, 0.25),
    )


def _backdrop(rng: np.random.Generator, camera: Camera, ground: Array) -> Pixels:
    """(size, size, 3) sky above the horizon, level ground below it, hazy toward the horizon."""
    sky, haze, dim = _pick(rng, _SKIES), rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)
    elevation = camera.elevation()
    hazy = np.float32(haze) * np.exp(np.minimum(elevation, 0) * 12)
    sky_share = np.where(elevation > 0, 1 - np.float32(dim) * elevation.clip(0, 1), hazy)[..., None]
    ground_share = np.where(elevation > 0, 0, 1 - hazy)[..., None]
    backdrop: Pixels = sky_share * sky.astype(np.float32) + ground_share * ground.astype(np.float32)
    return backdrop


def _slope(rng: np.random.Generator, terrain: str) -> list[_Strip]:
    """Level approach, then a slope up to a crest; level ground goes on to the far end."""
    start, tangent = rng.uniform(1.2, 2.2), math.tan(math.radians(rng.uniform(*SLOPE_DEGREES[terrain])))
    approach = _Strip((_NEAR_METERS, 0), (start, 0), "ground")
    length = _FAR_METERS - start if terrain == "flat" else rng.uniform(18, 26)
    pieces = rng.integers(8, 16)
    edges = [(start + length * k / pieces, length * k / pieces * tangent) for k in range(pieces + 1)]
    return [approach, *(_Strip(a, b, "ground") for a, b in pairwise(edges))]


def _stairs(rng: np.random.Generator, upward: bool) -> list[_Strip]:
    """Level approach, then steps to a landing. Seen from above, the risers of descending steps are hidden."""
    start, rise, run = rng.uniform(1.2, 1.9), rng.uniform(0.15, 0.2), rng.uniform(0.27, 0.36)
    strips = [_Strip((_NEAR_METERS, 0), (start, 0), "ground")]
    y, z = start, 0.0
    for _ in range(rng.integers(8, 15)):
        foot, z = z, z + (rise if upward else -rise)
        if upward:
            strips.append(_Strip((y, foot), (y, z), "riser"))
        strips.append(_Strip((y, z), (y + run, z), "tread"))
        y += run
    return [*strips, _Strip((y, z), (y + rng.uniform(1, 20), z), "ground")]


def _paint_skyline(rng: np.random.Generator, canvas: _Canvas) -> None:
    """Boxes and crowns at the horizon: buildings and trees."""
    for _ in range(rng.integers(0, 7)):
        x, y, tall = rng.uniform(-35, 35), rng.uniform(35, 60), rng.uniform(1, 9)
        color = _pick(rng, _THINGS) * 0.6 + 80
        if rng.random() < 0.5:
            wide = rng.uniform(1.5, 6)
            canvas.polygon([(x, y, 0), (x + wide, y, 0), (x + wide, y, tall), (x, y, tall)], color)
        else:
            canvas.line([(x, y, 0), (x, y, tall)], color * 0.7, 0.6)
            canvas.ball((x, y, tall), rng.uniform(1, 3), color)


def _paint_surroundings(
    rng: np.random.Generator, canvas: _Canvas, strips: list[_Strip], half_width: float, ground: Array, sun: float
) -> None:
    """The ground beside the path follows it up or down for a few meters, then a bank falls or rises to level ground."""
    half = half_width + rng.uniform(0.8, 4.0)
    bank = rng.uniform(0.3, 1.5)
    shade, side = ground * rng.uniform(0.85, 1.1), ground * rng.uniform(0.6, 0.85)
    for strip in reversed(strips):
        (ya, za), (yb, zb) = strip.near, strip.far
        for s in (-1, 1):
            canvas.polygon(
                [
                    (s * half, ya, za),
                    (s * half, yb, zb),
                    (s * (half + bank * abs(zb)), yb, 0),
                    (s * (half + bank * abs(za)), ya, 0),
                ],
                side,
            )
        lit = shade * (1 + sun * strip.incline)
        canvas.polygon([(-half, ya, za), (half, ya, za), (half, yb, zb), (-half, yb, zb)], lit)


def _paint_path(
    rng: np.random.Generator, canvas: _Canvas, strips: list[_Strip], half: float, path: Array, sun: float
) -> None:
    """The walked surface, far to near, with joints, step edges and sometimes rails."""
    shades = {"ground": 1.0, "riser": rng.uniform(0.5, 0.72), "tread": rng.uniform(0.95, 1.15)}
    joints, edges, rails = rng.random() < 0.5, rng.random() < 0.75, rng.random() < 0.35
    edge_color = path * 0.4 if rng.random() < 0.7 else np.array([225.0, 200.0, 70.0])
    for strip in reversed(strips):
        (ya, za), (yb, zb) = strip.near, strip.far
        near, far = [(-half, ya, za), (half, ya, za)], [(half, yb, zb), (-half, yb, zb)]
        lit = path * shades[strip.kind] * (1 + sun * strip.incline)
        canvas.polygon([*near, *far], lit * (1 - 0.004 * ya) * rng.uniform(0.98, 1.02))
        if strip.kind == "tread" and (edges or zb < 0):  # descending treads show nothing but their nosing
            nosing = far if zb < 0 else near
            canvas.line(nosing, edge_color if edges else path * shades["riser"], 0.04)
        elif strip.kind == "ground" and joints and ya > 1:
            canvas.line(near, path * 0.85, 0.02)
    if rails:
        tops = [strip.far for strip in strips if strip.kind != "riser"]
        for s in (-1, 1):
            height, color = rng.uniform(0.05, 0.9), _pick(rng, _THINGS)
            canvas.line([(s * half, y, z + height) for y, z in tops], color, 0.05)
            for y, z in tops[::2]:
                canvas.line([(s * half, y, z), (s * half, y, z + height)], color, 0.04)


def _paint_things(rng: np.random.Generator, canvas: _Canvas, strips: list[_Strip], half: float) -> None:
    """A few stones, bushes and posts beside the path."""
    for y in sorted(rng.uniform(2, 9, rng.integers(0, 5)), reverse=True):
        z = next((strip.near[1] for strip in reversed(strips) if strip.near[0] <= y), 0.0)
        x, color = rng.choice([-1, 1]) * (half + rng.uniform(0.15, 1.5)), _pick(rng, _THINGS)
        if rng.random() < 0.6:
            radius = rng.uniform(0.08, 0.3)
            canvas.ball((x, y, z + radius / 2), radius, color)
        else:
            canvas.line([(x, y, z), (x, y, z + rng.uniform(0.4, 1.6))], color, 0.08)


def _expose(rng: np.random.Generator, image: Image.Image, size: int) -> Image.Image:
    """What light and lens add: side light, tint, vignette, contrast, brightness, blur, sensor noise."""
    values: Pixels = np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.float32)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    direction, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.18)
    light = 1 + strength * (axis[None, :] * math.cos(direction) + axis[:, None] * math.sin(direction))
    light = light - rng.uniform(0, 0.15) * (axis[None, :] ** 2 + axis[:, None] ** 2) / 2
    values = values * light[..., None] * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    values = (values - 128) * rng.uniform(0.8, 1.15) + 128 + rng.uniform(-22, 22)
    blurred = Image.fromarray(values.clip(0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(rng.uniform(0, 0.8) * size / DEFAULT_SIZE)
    )
    noise = rng.standard_normal((size, size, 3), dtype=np.float32) * rng.uniform(1, 6)
    noisy: Pixels = np.asarray(blurred, dtype=np.float32) + noise
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _pick(rng: np.random.Generator, colors: tuple[tuple[int, int, int], ...]) -> Array:
    """One of the colors, each channel moved a little; (3,)."""
    return np.array(colors[rng.integers(len(colors))], dtype=np.float64) + rng.uniform(-16, 16, 3)


def _pick_apart(rng: np.random.Generator, colors: tuple[tuple[int, int, int], ...], other: Array) -> Array:
    """A color that a person tells from the other at a glance; (3,)."""
    while np.abs((color := _pick(rng, colors)) - other).max() < _APART:
        pass
    return color


def _rgb(color: Array) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in color.clip(0, 255))
    return r, g, b
