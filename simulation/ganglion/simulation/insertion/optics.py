"""What an optical fiber in the needle's tip sees ahead: A-scans of optical coherence tomography (OCT).

The field at a depth is the layer's scattering, fallen off by the attenuation on the way there and back (Beer-Lambert),
times fully developed speckle: a circular complex Gaussian of mean intensity 1, whose contrast is 1 in intensity and
sqrt(4/pi - 1) in amplitude (Goodman, Speckle Phenomena in Optics, 2007). Interfaces add a peak each, sensitivity rolls
off with depth as a spectrometer's does, and the detector adds noise. Speckle decorrelates as the tip moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 1025
RANGE_MM = 2.7  # in silicone; 2.6 um per bin
FLOOR = 1e-4  # amplitude that is added before the logarithm: -80 dB

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Optics:
    """A block of n layers and a tomograph.

    scattering            (n,) amplitude that a layer gives back
    attenuation_per_mm    (n,) of the intensity, one way: amplitude falls by exp(-mu z) on the way there and back
    reflection            (n,) amplitude of the peak of the interface where a layer begins
    peak_mm               half width of a peak, where it has fallen to 1/e
    roll_off_mm           depth at which sensitivity has fallen to 1/e
    noise                 amplitude of the detector's noise, root mean square
    decorrelation_mm      path over which the correlation of speckle falls to 1/e
    """

    scattering: tuple[float, ...]
    attenuation_per_mm: tuple[float, ...]
    reflection: tuple[float, ...]
    peak_mm: float = 0.012
    roll_off_mm: float = 2.4
    noise: float = 0.006
    decorrelation_mm: float = 0.004


class Tomograph:
    """One tomograph in one block; the seed draws speckle and noise."""

    def __init__(self, optics: Optics, seed: int) -> None:
        self._optics = optics
        self._depth = ((np.arange(BINS) + 0.5) * (RANGE_MM / BINS)).astype(np.float32)
        self._sensitivity = np.exp(-((self._depth / optics.roll_off_mm) ** 2)).astype(np.float32)
        self._rng = np.random.default_rng([seed, 2])
        self._speckle = _circular(self._rng, 1)[0]

    def read(self, ahead_mm: Floats, moved_mm: Floats) -> Array:
        """A-scans in dB, (samples, BINS) float32.

        Args:
            ahead_mm: (samples, n) distance of each interface from the tip.
            moved_mm: (samples,) path of the tip since the sample before.
        """
        field = self.field(ahead_mm) * self._speckles(moved_mm)
        field += np.float32(self._optics.noise) * _circular(self._rng, len(field))
        decibels: Array = np.float32(20) * np.log10(np.abs(field) + np.float32(FLOOR))
        return decibels

    def field(self, ahead_mm: Floats) -> Array:
        """Mean amplitude over depth, without speckle and noise: (samples, n) -> (samples, BINS) float32."""
        optics, depth = self._optics, self._depth
        ahead = ahead_mm.astype(np.float32)[:, :, None]
        entered = np.maximum(ahead, 0)
        # How far light has come in each layer: from where it begins, or the tip, to where the next one does.
        path = np.maximum(depth - entered, 0)
        path[:, :-1] -= path[:, 1:]
        fading = np.exp(-np.einsum("n,snb->sb", np.asarray(optics.attenuation_per_mm, np.float32), path))
        steps = np.diff(np.asarray(optics.scattering, np.float32), prepend=np.float32(0))
        amplitude = np.einsum("n,snb->sb", steps, (depth >= ahead).astype(np.float32))
        for index, reflection in enumerate(optics.reflection):
            near = np.flatnonzero(np.abs(ahead[:, index] - depth).min(axis=0) < 4 * optics.peak_mm)
            if len(near):
                part = slice(int(near[0]), int(near[-1]) + 1)
                shape = np.exp(-(((depth[part] - ahead[:, index]) / np.float32(optics.peak_mm)) ** 2))
                amplitude[:, part] += np.float32(reflection) * shape
        mean: Array = amplitude * fading * self._sensitivity
        return mean

    def _speckles(self, moved_mm: Floats) -> npt.NDArray[np.complex64]:
        kept = np.exp(-moved_mm / self._optics.decorrelation_mm).astype(np.float32)
        fresh = _circular(self._rng, len(kept)) * np.sqrt(1 - kept**2)[:, None]
        for sample, share in enumerate(kept):
            self._speckle = fresh[sample] = share * self._speckle + fresh[sample]
        return fresh


def _circular(rng: np.random.Generator, count: int) -> npt.NDArray[np.complex64]:
    """Circular complex Gaussian values of mean intensity 1, (count, BINS)."""
    parts = rng.standard_normal((count, BINS, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))
    values: npt.NDArray[np.complex64] = parts.view(np.complex64)[..., 0]
    return values
