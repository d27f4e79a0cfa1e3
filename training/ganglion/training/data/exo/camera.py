"""A pinhole camera over a ground plane: where a point of the world falls in an image.

World axes in meters, origin on the ground below the camera: x right, y forward, z up. Pixels: u right, v down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.floating]
_NEAREST_METERS = 0.05


@dataclass(frozen=True)
class Camera:
    """size: image edge in pixels; angles in radians: pitch down, roll clockwise, yaw right; fov across the image."""

    size: int
    height_meters: float
    pitch: float
    roll: float
    yaw: float
    fov: float
    offset_meters: float

    @property
    def focal_pixels(self) -> float:
        """Focal length in pixels."""
        return self.size / 2 / math.tan(self.fov / 2)

    def project(self, points: Array) -> Array:
        """(n, 3) world points in meters -> (n, 2) pixels; points behind the camera are pulled to just before it."""
        seen = (points - self._place) @ self._matrix
        pixels: Array = seen[:, :2] / np.maximum(seen[:, 2:], _NEAREST_METERS) + self.size / 2
        return pixels

    @cached_property
    def _place(self) -> Array:
        return np.array([self.offset_meters, 0.0, self.height_meters])

    @cached_property
    def _matrix(self) -> Array:
        """(3, 3) from meters, seen from the camera's place, to (u, v) before the division by depth, and depth."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        yaw = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        cos, sin = math.cos(self.pitch), math.sin(self.pitch)
        pitch = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])  # to right, depth, up
        cos, sin = self.focal_pixels * math.cos(self.roll), self.focal_pixels * math.sin(self.roll)
        image = np.array([[cos, 0, sin], [sin, 0, -cos], [0, 1, 0]])
        matrix: Array = (image @ pitch @ yaw).T
        return matrix

    def elevation(self) -> Pixels:
        """(size, size) tangent of each pixel's elevation above the horizon, to first order in the roll."""
        axis = np.arange(self.size, dtype=np.float32) + 0.5 - self.size / 2
        v = axis[:, None] * math.cos(self.roll) - axis[None, :] * math.sin(self.roll)
        return -v / self.focal_pixels - math.tan(self.pitch)
