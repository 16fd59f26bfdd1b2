"""From the photon dose of the water kernel to that in the tissues of a patient.

Three factors, all of them smooth, so they are computed on blocks of about 16 mm:

- What another tissue absorbs of the photons there, relative to water.  The ratio depends on how
  far the photons have come (they soften by scattering); it is part of the kernel, and the
  photons of all sources are averaged by a second convolution.
- In bone the soft part of the photons is shielded by the bone around: the excess over water falls
  exponentially with the share of bone in the mass of the surroundings.
- A share of the dose is missing where lung or the air outside the body takes the place of water
  and does not scatter.

The parameters of the last two were chosen on one virtual patient against the Monte Carlo.
Attenuation along lung or bone instead of water is left out.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    from TheranosticDoseLib.nuclides import Nuclide

BLOCK_MM = 16.0


@dataclasses.dataclass(frozen=True)
class PhotonSettings(Settings):
    """Settings of the photon part of the corrected voxel S values.

    Attributes
    ----------
    scatter_share : float
        Part of the photon dose that is lost where nothing around scatters.
    scatter_length_mm : float
        Width (standard deviation) of the surroundings that scatter.
    bone_shielding : float
        Exponent of the excess absorption of bone where all around is bone.
    bone_length_mm : float
        Width (standard deviation) of the surroundings that shield.
    """

    scatter_share: float = 0.3
    scatter_length_mm: float = 60.0
    bone_shielding: float = 3.0
    bone_length_mm: float = 24.0

    def validate(self) -> None:
        """Check the ranges."""
        self.require(0 <= self.scatter_share <= 1, "scatter_share", "0 to 1")
        self.require(0 < self.scatter_length_mm <= 200, "scatter_length_mm", "above 0, at most 200 mm")
        self.require(0 <= self.bone_shielding <= 10, "bone_shielding", "0 to 10")
        self.require(0 < self.bone_length_mm <= 200, "bone_length_mm", "above 0, at most 200 mm")


def photon_factor(
    decays: np.ndarray,
    density: np.ndarray,
    tissue: np.ndarray,
    nuclide: Nuclide,
    spacing_mm: tuple[float, float, float],
    settings: PhotonSettings,
) -> np.ndarray:
    """Return the photon dose over that of the water kernel, float32 ``(z, y, x)``.

    Parameters
    ----------
    decays : ndarray (z, y, x)
        Relative.
    density : ndarray (z, y, x)
        g/cm3.
    tissue : ndarray (z, y, x)
        Indices of the tissue table.
    nuclide : Nuclide
    spacing_mm : tuple of float
        (x, y, z).
    settings : PhotonSettings
    """
    from scipy.ndimage import gaussian_filter

    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose.blocks import block_means, spread

    blocks = tuple(max(1, round(BLOCK_MM / s)) for s in spacing_mm[::-1])
    size_mm = tuple(s * n for s, n in zip(spacing_mm, blocks[::-1], strict=True))

    def around(values: np.ndarray, length_mm: float) -> np.ndarray:
        sigma = [length_mm / s for s in size_mm[::-1]]
        return gaussian_filter(block_means(values, blocks), sigma, mode="nearest")

    missing = 1 - around(np.minimum(density, np.float32(1.0)), settings.scatter_length_mm)
    base = 1 - settings.scatter_share * np.clip(missing, 0, 1)
    result = spread(base, blocks, density.shape)
    ratios = _ratios(block_means(decays, blocks), nuclide, size_mm)
    for entry in tissues.tissues():
        here = tissue == entry.index
        ratio = ratios.get(entry.name.lower())
        if ratio is None or not here.any():
            continue
        if entry.index == tissues.BONE:
            share = around(here * density, settings.bone_length_mm) / around(density, settings.bone_length_mm)
            ratio = 1 + (ratio - 1) * np.exp(-settings.bone_shielding * share)
        np.multiply(result, spread(ratio, blocks, density.shape), out=result, where=here)
    return result


def _ratios(decays: np.ndarray, nuclide: Nuclide, size_mm: tuple) -> dict[str, np.ndarray]:
    """Return how much more than water each tissue absorbs of the photons in each block."""
    from TheranosticDoseLib.dose.kernels.convolve import convolve

    water, others = _kernels(nuclide, size_mm, decays.shape)
    if not others or not water.any():
        return {}
    decays = decays / decays.max()
    reference = np.maximum(convolve(decays, water), np.float32(1e-6 * water.max()))
    return {name: convolve(decays, kernel) / reference for name, kernel in others.items()}


@functools.lru_cache(maxsize=6)
def _kernels(nuclide, size_mm, shape) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the photon kernel of water for blocks, and that of what each tissue absorbs instead."""
    from TheranosticDoseLib.dose.kernels import point_kernel, voxel_kernel

    point = point_kernel(nuclide, "water")
    water = voxel_kernel(point, size_mm, shape).photon_kev
    squares = [(np.arange(n) * s) ** 2 for n, s in zip(shape, size_mm[::-1], strict=True)]
    distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    absorption = dict(point.absorption)
    nodes = absorption.pop("distance_mm", None)
    return water, {name: water * np.interp(distance, nodes, ratio) for name, ratio in absorption.items()}
