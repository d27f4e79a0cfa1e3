"""What the camera sees: a textured ground, a bright mark where the needle should go, and the needle in the middle.

The mark's offset from the image's center (right is +x, down is +y) is what vx and vy must close.
Ground, light, mark and clutter vary by seed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ganglion.core.specs import CameraSpec
from ganglion.simulation.needle_world import NeedleState

FIELD_MM = 16.0  # what the shorter side of the image covers
_MARK_RADIUS_MM = 2.0
_SUPERSAMPLING = 2  # drawn larger and shrunk: the mark moves by less than a pixel


class Scene:
    """The view of one seed through one camera."""

    def __init__(self, camera: CameraSpec, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self._size = (camera.width, camera.height)
        self._large = (_SUPERSAMPLING * camera.width, _SUPERSAMPLING * camera.height)
        self._scale = min(self._large) / FIELD_MM
        ground = rng.uniform(40, 120, 3)
        coarse = rng.normal(0, 8, (9, 9, 1)) + ground
        texture = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize(
            self._large, Image.Resampling.BICUBIC
        )
        draw = ImageDraw.Draw(texture)
        for _ in range(rng.integers(2, 6)):
            color = tuple(int(c) for c in np.clip(ground + rng.normal(0, 15, 3), 10, 150))
            x_mm, y_mm = rng.uniform(-8, 8, 2)
            self._dot(draw, x_mm, y_mm, rng.uniform(0.4, 1.2), color)
        self._ground = texture
        self._mark_color = tuple(int(c) for c in rng.uniform((235, 215, 150), (255, 250, 235)))
        self._light = rng.uniform(0.85, 1.1)
        self._flicker_rad = rng.uniform(0, 2 * np.pi)

    def draw(self, state: NeedleState, time_s: float) -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB for a state of one time."""
        image = self._ground.copy()
        draw = ImageDraw.Draw(image)
        self._dot(draw, float(state.mark_x_mm[0]), float(state.mark_y_mm[0]), _MARK_RADIUS_MM, self._mark_color)
        center = (self._large[0] / 2, self._large[1] / 2)
        draw.line([center, (self._large[0] * 0.8, 0)], fill=(30, 30, 36), width=max(2, round(0.35 * self._scale)))
        pixels = np.asarray(image.resize(self._size, Image.Resampling.BOX), np.float32)
        light = self._light * (1 + 0.03 * np.sin(2 * np.pi * 0.7 * time_s + self._flicker_rad))
        view: npt.NDArray[np.uint8] = np.clip(pixels * np.float32(light), 0, 255).astype(np.uint8)
        return view

    def _dot(
        self, draw: ImageDraw.ImageDraw, x_mm: float, y_mm: float, radius_mm: float, color: tuple[int, ...]
    ) -> None:
        x, y = self._large[0] / 2 + x_mm * self._scale, self._large[1] / 2 + y_mm * self._scale
        radius = radius_mm * self._scale
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)
