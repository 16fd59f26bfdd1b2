"""Voxel S values: the activity convolved with the kernel of one homogeneous medium (MIRD 17).

The kernel is as large as the dose grid, so the photon tail is kept.  Density and tissue of
the patient play no part: the dose is that to water (or to the medium of the kernel).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose.kernels import VoxelKernel
    from TheranosticDoseLib.nuclides import Nuclide


@dataclasses.dataclass(frozen=True)
class EngineSettings(Settings):
    """Settings of the voxel S values.

    Attributes
    ----------
    medium : str
        Of the kernel: ``water``, ``soft``, ``lung``, ``adipose``, ``bone``, ``air``.
    density_g_cm3 : float or None
        Of that medium; its nominal density where ``None``.
    """

    medium: str = "water"
    density_g_cm3: float | None = None

    def validate(self) -> None:
        """Check the ranges."""
        from TheranosticDoseLib.dose.kernels.point import media

        self.require(self.medium in media(), "medium", f"one of {', '.join(media())}")
        density = self.density_g_cm3
        self.require(density is None or 1e-4 <= density <= 23, "density_g_cm3", "0.0001 to 23 g/cm3")


def unavailable() -> str | None:
    """Nothing to install."""
    return None


def compute(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> DoseResult:
    """Return the dose of the convolution; see :func:`TheranosticDoseLib.dose.absorbed_dose`."""
    from TheranosticDoseLib.dose.engines import decays_per_voxel
    from TheranosticDoseLib.dose.kernels.convolve import convolve
    from TheranosticDoseLib.dose.kernels.voxel import KEV_PER_G_TO_GY

    kernel = grid_kernel(tia, nuclide, settings.medium, settings.density_g_cm3, part_of(progress, 0.0, 0.8))
    report(progress, 0.8, "Convolving with the voxel S values")
    decays = decays_per_voxel(tia)
    scale = decays.max()
    energy = convolve(decays / scale, kernel.energy_kev) * scale
    dose = energy * (KEV_PER_G_TO_GY / kernel.mass_g)
    record = {"kernel": kernel.provenance, "kernel_density_g_cm3": kernel.density_g_cm3}
    return DoseResult(image_like(dose, tia), None, {**record, "findings": _findings(tia, anatomy)})


def change(decays: np.ndarray, anatomy: Anatomy, nuclide: Nuclide, settings: EngineSettings) -> np.ndarray:
    """Return the dose, Gy, that decays per voxel ``(z, y, x)`` add or, where they are negative, take away."""
    from TheranosticDoseLib.dose.kernels.two_scale import two_scale
    from TheranosticDoseLib.dose.kernels.voxel import KEV_PER_G_TO_GY

    kernel = grid_kernel(anatomy.density, nuclide, settings.medium, settings.density_g_cm3)
    scale = np.abs(decays).max()
    return two_scale(kernel, "energy_kev")(decays / scale) * (scale * KEV_PER_G_TO_GY / kernel.mass_g)


def grid_kernel(
    grid: sitk.Image,
    nuclide: Nuclide,
    medium: str,
    density_g_cm3: float | None = None,
    progress: Progress | None = None,
) -> VoxelKernel:
    """Return the voxel kernel for the whole of a grid; the last few are kept in memory."""
    from TheranosticDoseLib.dose.kernels import point_kernel

    point_kernel(nuclide, medium, progress)  # here, because it may take time and be cancelled
    spacing = tuple(round(float(s), 6) for s in grid.GetSpacing())
    return _grid_kernel(nuclide, medium, density_g_cm3, spacing, grid.GetSize()[::-1])


@functools.lru_cache(maxsize=6)
def _grid_kernel(nuclide, medium, density_g_cm3, spacing, shape) -> VoxelKernel:
    from TheranosticDoseLib.dose.kernels import point_kernel, voxel_kernel

    return voxel_kernel(point_kernel(nuclide, medium), spacing, shape, density_g_cm3)


def _findings(tia: sitk.Image, anatomy: Anatomy) -> list[dict]:
    density, activity = array_of(anatomy.density), array_of(tia)
    far = (density < 0.9) | (density > 1.15)
    share = float(np.sum(activity[far], dtype=np.float64) / np.sum(activity, dtype=np.float64))
    if share < 0.01:
        return []
    message = f"{100 * share:.0f} % of the activity lies in tissue that is not of the density of water."
    remedy = "Use vsv_density or mc."
    return [Finding("info", "dose.vsv.density", message, share, "density", remedy).to_dict()]
