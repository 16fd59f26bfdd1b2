"""Voxel S values: a point kernel integrated over source and target voxel.

The mean over all pairs of points in two equal boxes is a mean over displacements with
triangular weights.  Close to the source every displacement of a product quadrature over
directions and distances is shared out to its eight neighbours in exactly these weights;
further away the kernel at the centre distance is corrected to second order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from TheranosticDoseLib.dose.kernels.point import PointKernel, Radial
from TheranosticDoseLib.errors import GeometryError

NEAR = 8.0
"""Within this many of the largest voxel edges the kernel is integrated, beyond it is expanded."""
DIRECTIONS = 40
"""Gauss points per angle of one octant."""
KEV_PER_G_TO_GY = 1.602176634e-13


@dataclass(frozen=True, eq=False)
class VoxelKernel:
    """Energy absorbed per decay in the source voxel, by offset of the target voxel.

    Attributes
    ----------
    electron_kev, photon_kev : ndarray (z, y, x)
        For offsets from zero up (one octant; the kernel is even in each axis), keV per decay.
        ``electron_kev`` holds alphas and recoils too.
    spacing_mm : tuple of float
        (x, y, z).
    density_g_cm3 : float
    provenance : dict
    """

    electron_kev: np.ndarray
    photon_kev: np.ndarray
    spacing_mm: tuple[float, float, float]
    density_g_cm3: float
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def mass_g(self) -> float:
        """Mass of a voxel."""
        return float(np.prod(self.spacing_mm)) * 1e-3 * self.density_g_cm3

    @property
    def energy_kev(self) -> np.ndarray:
        """Electrons and photons together, keV per decay."""
        return self.electron_kev + self.photon_kev

    def s_value_mgy_per_mbq_s(self) -> np.ndarray:
        """Return the voxel S values, mGy/(MBq s)."""
        return self.energy_kev * (KEV_PER_G_TO_GY * 1e6 * 1e3 / self.mass_g)


def voxel_kernel(
    kernel: PointKernel,
    spacing_mm: tuple[float, float, float],
    shape: tuple[int, int, int],
    density_g_cm3: float | None = None,
) -> VoxelKernel:
    """Return the voxel kernel of a grid.

    Parameters
    ----------
    kernel : PointKernel
    spacing_mm : tuple of float
        (x, y, z).
    shape : tuple of int
        Number of offsets (z, y, x); the shape of the dose grid keeps all of the photon tail.
    density_g_cm3 : float, optional
        Of the medium; default its nominal density.
    """
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise GeometryError(f"The voxel spacing {tuple(spacing_mm)} mm must be three positive numbers.")
    scaled = kernel if density_g_cm3 is None else kernel.at_density(density_g_cm3)
    return VoxelKernel(
        electron_octant(scaled, spacing_mm, shape),
        integrate(scaled.photon, spacing_mm, shape),
        tuple(float(s) for s in spacing_mm),
        scaled.density_g_cm3,
        {"medium": kernel.medium, "nuclide": kernel.nuclide, **kernel.provenance},
    )


def electron_octant(
    kernel: PointKernel, spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> np.ndarray:
    """Return the electron part alone of :func:`voxel_kernel`, keV per decay ``(z, y, x)``, at the kernel's density."""
    electron = integrate(kernel.electron, spacing_mm, shape)
    electron[0, 0, 0] += kernel.local_kev
    return electron


def integrate(
    radial: Radial, spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> np.ndarray:
    """Return keV per decay for each offset (z, y, x), float64, of a radial kernel."""
    step = np.array(spacing_mm[::-1], np.float64)
    limit = min(NEAR * step.max(), radial.edges_mm[-1])
    near = _near(radial, step, limit)
    result = _far(radial, step, shape)
    extent = [min(a, b) for a, b in zip(near.shape, shape, strict=True)]
    block = tuple(slice(0, n) for n in extent)
    axes = np.meshgrid(*[np.arange(n) * s for n, s in zip(extent, step, strict=True)], indexing="ij")
    # A voxel is complete where the farthest displacement between the two voxels was integrated.
    corner = np.sqrt(sum((axis + s) ** 2 for axis, s in zip(axes, step, strict=True)))
    complete = corner <= limit if limit < radial.edges_mm[-1] else np.ones(extent, bool)
    result[block] = np.where(complete, near[block], result[block])
    return result


def _near(radial: Radial, step: np.ndarray, limit: float) -> np.ndarray:
    """Share out displacements up to ``limit`` mm; their distances sample every shell finely."""
    distance, energy = _samples(radial, 0.04 * step.min(), limit)
    node, weight = np.polynomial.legendre.leggauss(DIRECTIONS)
    cosine, angle = 0.5 * (node + 1), 0.25 * np.pi * (node + 1)
    sine = np.sqrt(1 - cosine**2)
    unit = np.stack(
        [
            np.broadcast_to(cosine[:, None], (DIRECTIONS, DIRECTIONS)),
            sine[:, None] * np.sin(angle)[None, :],
            sine[:, None] * np.cos(angle)[None, :],
        ]
    ).reshape(3, -1)
    share = 0.25 * np.outer(weight, weight).ravel()
    shape = tuple((np.floor(limit / step) + 2).astype(int))
    result = np.zeros(shape)
    for first in range(0, distance.size, 64):
        some = slice(first, first + 64)
        place = distance[some, None, None] * (unit / step[:, None])
        place = place.transpose(1, 0, 2).reshape(3, -1)
        _share_out(result, place, np.outer(energy[some], share).ravel())
    for axis in range(3):  # an offset along an axis stands for itself and its mirror image
        mirrored = [slice(None)] * 3
        mirrored[axis] = slice(1, None)
        result[tuple(mirrored)] *= 0.5
    return result


def _samples(radial: Radial, finest: float, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and energies: each shell cut into equal parts, energy even along the radius."""
    distances, energies = [], []
    for low, high, energy in zip(radial.edges_mm[:-1], radial.edges_mm[1:], radial.energy_kev, strict=True):
        if low >= limit:
            break
        parts = max(1, int(np.ceil((high - low) / max(finest, 0.02 * low))))
        centers = low + (np.arange(parts) + 0.5) * (high - low) / parts
        keep = centers < limit
        distances.append(centers[keep])
        energies.append(np.full(keep.sum(), energy / parts))
    return np.concatenate(distances), np.concatenate(energies)


def _share_out(result: np.ndarray, place: np.ndarray, energy: np.ndarray) -> None:
    """Add energies at fractional offsets ``place`` (3, n) to the eight surrounding voxels."""
    low = np.floor(place).astype(int)
    part = place - low
    flat = np.zeros(result.size)
    for corner in np.ndindex(2, 2, 2):
        weight = energy.copy()
        for axis, upper in enumerate(corner):
            weight *= part[axis] if upper else 1 - part[axis]
        index = np.ravel_multi_index(tuple(low + np.array(corner)[:, None]), result.shape)
        flat += np.bincount(index, weight, result.size)
    result += flat.reshape(result.shape)


def _far(radial: Radial, step: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the kernel at the centre distance, corrected for the curvature of 1/r^2 over the voxels."""
    squares = [(np.arange(n) * s) ** 2 for n, s in zip(shape, step, strict=True)]
    z2, y2, x2 = squares[0][:, None, None], squares[1][None, :, None], squares[2][None, None, :]
    r2 = z2 + y2 + x2
    r2[0, 0, 0] = step.min() ** 2
    bend = (step[0] ** 2 * z2 + step[1] ** 2 * y2 + step[2] ** 2 * x2) * (8 / r2) - 2 * np.sum(step**2)
    per_length = _per_length(radial, np.sqrt(r2))
    return per_length * (1 + bend / (12 * r2)) * (np.prod(step) / (4 * np.pi)) / r2


def _per_length(radial: Radial, distance: np.ndarray) -> np.ndarray:
    """Return keV per mm of radius, interpolated in its logarithm; zero beyond the last shell."""
    widths = np.diff(radial.edges_mm)
    centers = 0.5 * (radial.edges_mm[1:] + radial.edges_mm[:-1])
    logarithm = np.log(np.maximum(radial.energy_kev / widths, 1e-30))
    fine = np.linspace(0.0, radial.edges_mm[-1], 20001)
    table = np.exp(np.interp(fine, centers, logarithm))
    values = np.interp(distance, fine, table)
    values[distance > radial.edges_mm[-1]] = 0.0
    return values
