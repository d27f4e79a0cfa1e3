"""Layered silicone around a needle: membranes that give way, layers that cling to the shaft, interfaces that move.

Each layer begins with a membrane. While the tip pushes one in by x its force is k x + b x^2 until it reaches the
puncture force, then it is gone: the needle force model of Okamura, Simone and O'Leary, "Force modeling for needle
insertion into soft tissue", IEEE Trans. Biomed. Eng. 51(10), 2004. Behind it the layer is cut and rubs along the shaft,
with a force that does not depend on speed and that builds up over a short path when the direction turns (Dahl's
friction, 1968).

Depths are in millimeters along the needle, below the surface at rest; forces in newtons, positive against insertion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_CLING_MM = 0.05  # path over which friction builds up when the direction turns
_REACH_MM = 3.0  # depth over which the bulge of a pushed membrane fades
_HEAL_MM = 0.2  # a membrane closes again when the tip is this far above it

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layers:
    """A block of n layers, top first; each tuple has n entries.

    top_mm               where each begins, at rest; top_mm[0] is 0, the surface
    stiffness_n_per_mm   k of its membrane
    stiffening_n_per_mm2 b of its membrane
    puncture_n           force at which its membrane gives way
    friction_n_per_mm    of the shaft, per length inside the layer
    cutting_n            of the tip, going on inside the layer
    """

    top_mm: tuple[float, ...]
    stiffness_n_per_mm: tuple[float, ...]
    stiffening_n_per_mm2: tuple[float, ...]
    puncture_n: tuple[float, ...]
    friction_n_per_mm: tuple[float, ...]
    cutting_n: tuple[float, ...]

    def membrane_n(self, layer: int, push_mm: float) -> float:
        """Force of a layer's membrane, pushed in by `push_mm` >= 0."""
        return self.stiffness_n_per_mm[layer] * push_mm + self.stiffening_n_per_mm2[layer] * push_mm**2

    def puncture_mm(self, layer: int) -> float:
        """How far a layer's membrane is pushed in when it gives way: where k x + b x^2 reaches the puncture force."""
        k, b, force = self.stiffness_n_per_mm[layer], self.stiffening_n_per_mm2[layer], self.puncture_n[layer]
        return 2 * force / (k + math.sqrt(k * k + 4 * b * force))


class Tissue:
    """A block as one needle meets it."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.punctured = 0  # membranes behind the tip: 0 outside, i inside layer i - 1
        self.deepest = 0  # most that ever were
        self._push_mm = 0.0
        self._depth_mm = -math.inf
        self._cling = 0.0  # share of the friction that is built up, -1 to 1, positive against insertion
        self._tops = np.array(layers.top_mm)

    def move(self, depth_mm: float) -> float:
        """Bring the tip to a depth, in steps well below a tenth of a millimeter; returns the force on it."""
        moved = depth_mm - self._depth_mm
        self._depth_mm = depth_mm
        membrane = self._meet_membranes(depth_mm)
        if math.isfinite(moved):
            sign = math.copysign(1.0, moved)
            self._cling = sign - (sign - self._cling) * math.exp(-abs(moved) / _CLING_MM)
        grip = self._grip_n(depth_mm)
        cutting = self.layers.cutting_n[self.punctured - 1] * max(self._cling, 0.0) if self.punctured else 0.0
        return membrane + grip * self._cling + cutting

    def ahead_mm(self) -> Floats:
        """Where the interfaces are now, seen from the tip along the needle, (n,): negative ones are behind it."""
        bulge = np.zeros(len(self._tops))
        if self.punctured < len(self._tops):
            below = self._tops[self.punctured :] - self._tops[self.punctured]
            bulge[self.punctured :] = self._push_mm * np.exp(-below / _REACH_MM)
        return self._tops + bulge - self._depth_mm

    def _meet_membranes(self, depth_mm: float) -> float:
        layers = self.layers
        while self.punctured and depth_mm < layers.top_mm[self.punctured - 1] - _HEAL_MM:
            self.punctured -= 1
        self._push_mm = 0.0
        while self.punctured < len(layers.top_mm):
            push_mm = depth_mm - layers.top_mm[self.punctured]
            if push_mm <= 0:
                return 0.0
            force = layers.membrane_n(self.punctured, push_mm)
            if force < layers.puncture_n[self.punctured]:
                self._push_mm = push_mm
                return force
            self.punctured += 1
            self.deepest = max(self.deepest, self.punctured)
        return 0.0

    def _grip_n(self, depth_mm: float) -> float:
        """Friction of all layers that the shaft passes through, fully built up."""
        grip = 0.0
        for layer in range(self.punctured):
            last = layer + 1 == self.punctured
            end_mm = depth_mm if last else min(depth_mm, self.layers.top_mm[layer + 1])
            grip += self.layers.friction_n_per_mm[layer] * max(end_mm - self.layers.top_mm[layer], 0.0)
        return grip
