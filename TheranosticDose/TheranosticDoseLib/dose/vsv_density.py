"""Voxel S values with correction for density and tissue.

Electrons: the activity is sorted into classes of density and tissue; each class is convolved
with the electron kernel of its own medium at its own density (water scaled for soft tissue, fat
and lung, bone for bone), and the energy, all of which is kept, is divided by the mass of the
voxel where it ends.  What is simplified: an electron that crosses into another tissue keeps the
range it had in the tissue it came from.

Photons: the dose of the water kernel, corrected for tissue and surroundings (``photon_tissue``).

Gas (below 0.1 g/cm3) counts as water, as source and as target.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.dose import vsv
from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.photon_tissue import PhotonSettings, photon_factor
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.geometry import array_of, image_like, voxel_volume_ml
from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.nuclides import Nuclide

EDGES_G_CM3 = (0.14, 0.2, 0.3, 0.42, 0.6, 0.98, 1.12, 1.3, 1.6)
"""Bounds of the density classes: lung in steps of a factor 1.4, fat, soft tissue, bone."""


@dataclasses.dataclass(frozen=True)
class EngineSettings(PhotonSettings):
    """Settings of the corrected voxel S values; those of the photons are in ``PhotonSettings``.

    Attributes
    ----------
    gas_density_g_cm3 : float
        Voxels below this count as water.
    """

    gas_density_g_cm3: float = 0.1

    def validate(self) -> None:
        """Check the ranges."""
        super().validate()
        self.require(0 < self.gas_density_g_cm3 <= 0.14, "gas_density_g_cm3", "above 0, at most 0.14 g/cm3")


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
    """Return the corrected dose; see :func:`TheranosticDoseLib.dose.absorbed_dose`."""
    electron_gy, photon_gy, record = components(tia, anatomy, nuclide, settings, progress)
    return DoseResult(image_like(electron_gy + photon_gy, tia), None, record)


def components(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the doses of electrons and of photons, Gy, ``(z, y, x)``, and the record of :func:`compute`."""
    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose.engines import decays_per_voxel
    from TheranosticDoseLib.dose.kernels import point_kernel
    from TheranosticDoseLib.dose.kernels.convolve import convolve
    from TheranosticDoseLib.dose.kernels.voxel import KEV_PER_G_TO_GY

    water = vsv.grid_kernel(tia, nuclide, "water", None, part_of(progress, 0.0, 0.4))
    point_kernel(nuclide, "bone", part_of(progress, 0.4, 0.7))  # here, because it may take time
    density, tissue = _without_gas(anatomy, settings), anatomy.tissue_array()
    decays = decays_per_voxel(tia)
    scale = decays.max()
    decays = (decays / scale).astype(np.float32)
    report(progress, 0.7, "Photons")
    photon = convolve(decays, water.photon_kev)
    photon *= factor_of_photons(decays, anatomy, nuclide, settings)
    report(progress, 0.8, "Electrons by class of tissue")
    electron, used = _electrons(nuclide, decays, density, tissue == tissues.BONE, tia.GetSpacing(), {})
    volume = voxel_volume_ml(tia)
    to_gy = scale * KEV_PER_G_TO_GY / volume
    record = {
        "kernel": water.provenance,
        "kernel_classes": used,
        "electron_energy_kept": float(
            electron.sum(dtype=np.float64) / (decays.sum(dtype=np.float64) * _electron_total(nuclide))
        ),
    }
    return electron / density * to_gy, photon * (to_gy / water.density_g_cm3), record


def factor_of_photons(
    decays: np.ndarray, anatomy: Anatomy, nuclide: Nuclide, settings: EngineSettings
) -> np.ndarray:
    """Return the photon dose over that of the water kernel; ``decays`` per voxel in any unit, ``(z, y, x)``."""
    density = np.asarray(array_of(anatomy.density), np.float32)
    spacing_mm = anatomy.density.GetSpacing()
    return photon_factor(decays, density, anatomy.tissue_array(), nuclide, spacing_mm, settings)


def class_means(
    decays: np.ndarray, anatomy: Anatomy, settings: EngineSettings
) -> dict[tuple[str, int], float]:
    """Return the mean density, g/cm3, of each class of tissue that holds activity, by medium and number."""
    from TheranosticDoseLib import tissues

    density, is_bone = _without_gas(anatomy, settings), anatomy.tissue_array() == tissues.BONE
    return {(medium, index): mean for medium, index, mean, _ in _classes(decays, density, is_bone, {})}


def change(
    decays: np.ndarray,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    factor: np.ndarray,
    means: dict[tuple[str, int], float],
) -> np.ndarray:
    """Return the dose, Gy, that decays per voxel ``(z, y, x)`` add or, where they are negative, take away.

    Linear in the decays: what the whole map decides, ``factor`` of the photons (:func:`factor_of_photons`) and
    ``means`` of the classes (:func:`class_means`), is hardly moved by a change of a part of it.
    """
    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose.kernels.two_scale import two_scale
    from TheranosticDoseLib.dose.kernels.voxel import KEV_PER_G_TO_GY

    grid = anatomy.density
    water = vsv.grid_kernel(grid, nuclide, "water")
    scale = np.abs(decays).max()
    decays = (decays / scale).astype(np.float32)
    density, is_bone = _without_gas(anatomy, settings), anatomy.tissue_array() == tissues.BONE
    electron, _ = _electrons(nuclide, decays, density, is_bone, grid.GetSpacing(), means)
    photon = two_scale(water, "photon_kev")(decays)
    energy = electron / density + photon * (factor / np.float32(water.density_g_cm3))
    return energy * (scale * KEV_PER_G_TO_GY / voxel_volume_ml(grid))


def _without_gas(anatomy: Anatomy, settings: EngineSettings) -> np.ndarray:
    density = np.asarray(array_of(anatomy.density), np.float32)
    return np.where(density < settings.gas_density_g_cm3, np.float32(1.0), density)


def _electrons(nuclide, decays, density, is_bone, spacing_mm, means) -> tuple[np.ndarray, list[list]]:
    """Return the energy of the electrons where it ends, keV, and the medium and density of each class."""
    from TheranosticDoseLib.dose.kernels.convolve import convolve_box

    electron, used = np.zeros(density.shape, np.float32), []
    box = bounding_box(decays != 0)
    for medium, _, mean, here in _classes(decays[box], density[box], is_bone[box], means):
        kernel = _class_kernel(nuclide, medium, mean, tuple(spacing_mm), density.shape)
        own = bounding_box(here)
        share = np.where(here[own], decays[box][own], np.float32(0.0))
        place = tuple(slice(b.start + o.start, b.start + o.stop) for b, o in zip(box, own, strict=True))
        reached, energy = convolve_box(share, place, density.shape, kernel)
        electron[reached] += energy
        used.append([medium, round(mean, 4)])
    return electron, used


def electrons_by_target(
    tia: sitk.Image, anatomy: Anatomy, nuclide: Nuclide, settings: EngineSettings
) -> np.ndarray:
    """Return the electron dose, Gy, ``(z, y, x)``, with the range of the voxel where the energy ends.

    :func:`components` takes that of the voxel where it starts; across an interface the truth is in between.
    """
    from TheranosticDoseLib import tissues
    from TheranosticDoseLib.dose.engines import decays_per_voxel
    from TheranosticDoseLib.dose.kernels.convolve import convolve
    from TheranosticDoseLib.dose.kernels.voxel import KEV_PER_G_TO_GY

    given = np.asarray(array_of(anatomy.density), np.float32)
    density = np.where(given < settings.gas_density_g_cm3, np.float32(1.0), given)
    is_bone = anatomy.tissue_array() == tissues.BONE
    decays = decays_per_voxel(tia)
    scale = decays.max()
    decays = (decays / scale).astype(np.float32)
    energy, everywhere = np.zeros(density.shape, np.float32), np.ones(density.shape, np.float32)
    for medium, _, mean, here in _classes(everywhere, density, is_bone, {}):
        kernel = _class_kernel(nuclide, medium, mean, tuple(tia.GetSpacing()), density.shape)
        energy[here] = convolve(decays, kernel)[here]
    return energy / density * (scale * KEV_PER_G_TO_GY / voxel_volume_ml(tia))


def _classes(decays, density, is_bone, means) -> Iterator[tuple[str, int, float, np.ndarray]]:
    """Give medium, number, mean density and voxels of each class with activity; the mean is that of ``means``."""
    active = decays != 0
    number = np.digitize(density, EDGES_G_CM3).astype(np.int8)
    for medium, here in (("water", active & ~is_bone), ("bone", active & is_bone)):
        for index in np.unique(number[here]).tolist():
            chosen = here & (number == index)
            mean = means.get((medium, index))
            if mean is None:
                mean = float(np.average(density[chosen], weights=np.abs(decays[chosen])))
                # Steps of 2 % in density: the same few kernels serve while activity or anatomy change a little.
                mean = float(np.exp(0.02 * np.round(np.log(mean) / 0.02)))
            yield medium, index, mean, chosen


@functools.lru_cache(maxsize=64)
def _class_kernel(nuclide, medium, density, spacing_mm, shape) -> np.ndarray:
    """Return the electron kernel of a class, keV per decay for offsets (z, y, x) from zero up."""
    from TheranosticDoseLib.dose.kernels import point_kernel
    from TheranosticDoseLib.dose.kernels.voxel import electron_octant

    kernel = point_kernel(nuclide, medium)
    reach = _reach(kernel, density, spacing_mm, shape)
    return electron_octant(kernel.at_density(density), spacing_mm, reach)


def _reach(kernel, density, spacing_mm, shape) -> tuple[int, ...]:
    """Return how many offsets (z, y, x) hold the electrons; bremsstrahlung goes on to the edge of the grid."""
    scaled = kernel.at_density(density).electron
    within = np.searchsorted(np.cumsum(scaled.energy_kev), 0.9995 * scaled.total_kev)
    far = scaled.edges_mm[min(int(within) + 1, scaled.edges_mm.size - 1)]
    return tuple(min(n, int(np.ceil(far / s)) + 2) for n, s in zip(shape, spacing_mm[::-1], strict=True))


def _electron_total(nuclide) -> float:
    return nuclide.electron_energy_kev + nuclide.alpha_energy_kev + nuclide.recoil_energy_kev
