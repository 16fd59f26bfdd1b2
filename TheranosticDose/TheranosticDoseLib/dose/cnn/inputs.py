"""What the network sees: the kernel dose and the tissue, as ratios that know no activity.

All channels are ratios of doses or depths of matter, so the dose scales with the activity by
construction.  Depth of matter (density times voxel side) rather than density and millimetres: the
transport of radiation depends on it alone, whatever the voxel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.geometry import array_of
from TheranosticDoseLib.progress import Progress

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose.anatomy import Anatomy
    from TheranosticDoseLib.nuclides import Nuclide

CHANNELS = ("level", "local", "photon", "crossing", "depth_z", "depth_y", "depth_x", "bone")
BLUR_CHANNELS = ("blur_z", "blur_y", "blur_x")
"""Resolution of the SPECT in voxels, for the de-blurring network."""
LEAST_SHARE = 1e-5
"""Voxels with less than this share of the largest kernel dose are left as they are: there is rounding."""
AROUND = 5
"""Side, in voxels, of the surroundings whose mean dose the levels are relative to."""
DEPTH_UNIT_G_CM2 = 0.4
LEAST_LOCAL = 0.02


@dataclass(frozen=True)
class Inputs:
    """Input of the network with what it corrects.

    Attributes
    ----------
    channels : ndarray of float32, shape (channel, z, y, x)
    kernel_gy : ndarray of float32, shape (z, y, x)
        Dose of ``vsv_density``.
    corrected : ndarray of bool, shape (z, y, x)
        Where the correction counts.
    """

    channels: np.ndarray
    kernel_gy: np.ndarray
    corrected: np.ndarray


def inputs_of(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    resolution_mm: tuple[float, float, float] | None = None,
    progress: Progress | None = None,
) -> Inputs:
    """Return the input of the network.

    Parameters
    ----------
    tia : SimpleITK.Image
        MBq h per mL.
    anatomy : Anatomy
        On the same grid.
    nuclide : Nuclide
    resolution_mm : tuple of float, optional
        Full width at half maximum of the SPECT (x, y, z): adds :data:`BLUR_CHANNELS`.
    progress : callable, optional
    """
    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose import vsv_density
    from TheranosticDoseLib.dose.engines import (
        JOULE_PER_KEV,
        SECONDS_PER_HOUR,
        charged_energy_kev,
    )

    chosen = vsv_density.EngineSettings()
    electron, photon, _ = vsv_density.components(tia, anatomy, nuclide, chosen, progress)
    other = vsv_density.electrons_by_target(tia, anatomy, nuclide, chosen) + photon
    kernel = np.asarray(electron + photon, np.float32)
    density = np.asarray(array_of(anatomy.density), np.float32)
    gy = np.float32(1e9 * SECONDS_PER_HOUR * charged_energy_kev(nuclide) * JOULE_PER_KEV)
    local = np.asarray(array_of(tia), np.float32) * gy / np.maximum(density, np.float32(0.1))
    corrected = kernel > LEAST_SHARE * kernel.max()
    count = len(CHANNELS) + (len(BLUR_CHANNELS) if resolution_mm is not None else 0)
    channels = np.empty((count, *kernel.shape), np.float32)
    channels[:4] = relative_channels(kernel, local, photon, other, corrected)
    channels[4:7] = depths(density, [0.1 * s for s in tia.GetSpacing()[::-1]])
    channels[7] = anatomy.tissue_array() == tissues.BONE
    if resolution_mm is not None:
        for number, (r, s) in enumerate(zip(resolution_mm[::-1], tia.GetSpacing()[::-1], strict=True)):
            channels[len(CHANNELS) + number] = np.log(r / s)
    return Inputs(channels, kernel, corrected)


def relative_channels(
    kernel: np.ndarray, local: np.ndarray, photon: np.ndarray, other: np.ndarray, corrected: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the first four channels, each a logarithm of about -2 to 2; 0 where nothing counts.

    Parameters
    ----------
    kernel, local, photon, other : ndarray of float32, shape (z, y, x)
        Doses: corrected kernel; of electrons that stop at once; of photons; with the electron ranges of the
        target instead of the source.
    corrected : ndarray of bool
    """
    from scipy import ndimage

    safe = np.where(corrected, kernel, np.float32(1.0))
    around = ndimage.uniform_filter(kernel, AROUND, mode="nearest")
    level = np.log(np.clip(safe / np.maximum(around, np.float32(1e-30)), 2e-3, 500.0)) / np.float32(2)
    own = np.log(np.minimum(local / safe, 50.0) + LEAST_LOCAL) / np.float32(2)
    share = np.log(np.clip(photon / safe, 1e-3, 1.0)) / np.float32(3)
    crossing = np.log(np.clip(other / safe, 0.02, 50.0)) / np.float32(2)
    return tuple(np.where(corrected, value, 0).astype(np.float32) for value in (level, own, share, crossing))


def depths(density: np.ndarray, sides_cm: list[float]) -> list[np.ndarray]:
    """Return the logarithm of the depth of matter of each voxel along z, y and x."""
    logarithm = np.log(np.maximum(density, np.float32(1e-3)))
    return [(logarithm + np.float32(np.log(s / DEPTH_UNIT_G_CM2))) / np.float32(3) for s in sides_cm]
