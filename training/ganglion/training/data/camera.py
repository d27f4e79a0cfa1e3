"""A pinhole camera over a ground plane: where a point of the world falls in an image.

World axes in meters, origin on the ground below the camera: x right, y forward, z up. Pixels: u right, v down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
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
        x, y, z = (points - np.array([self.offset_meters, 0.0, self.height_meters])).T
        x, y = x * math.cos(self.yaw) - y * math.sin(self.yaw), x * math.sin(self.yaw) + y * math.cos(self.yaw)
        depth = np.maximum(y * math.cos(self.pitch) - z * math.sin(self.pitch), _NEAREST_METERS)
        up = y * math.sin(self.pitch) + z * math.cos(self.pitch)
        u, v = self.focal_pixels * x / depth, -self.focal_pixels * up / depth
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        return np.stack([u * cos - v * sin, u * sin + v * cos], axis=1) + self.size / 2

    def elevation(self) -> Array:
        """(size, size) tangent of each pixel's elevation above the horizon, to first order in the roll."""
        axis = np.arange(self.size) + 0.5 - self.size / 2
        v = axis[:, None] * math.cos(self.roll) - axis[None, :] * math.sin(self.roll)
        return -v / self.focal_pixels - math.tan(self.pitch)
