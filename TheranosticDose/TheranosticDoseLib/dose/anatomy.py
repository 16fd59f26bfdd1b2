"""The anatomy that a dose engine works in: density and tissue on a grid."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like, require_same_grid, resample, voxel_volume_ml

if TYPE_CHECKING:
    import SimpleITK as sitk

AIR_DENSITY_G_CM3 = 1.205e-3
"""Dry air at 20 degrees Celsius and one atmosphere (NIST), used where a grid reaches beyond the CT."""

LARGEST_DENSITY_G_CM3 = 23.0
"""Above any element that an implant is made of; a larger value is Hounsfield units or kg/m3."""


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Density and tissue of each voxel.

    Attributes
    ----------
    density : SimpleITK.Image
        Mass density, g/cm3.
    material : SimpleITK.Image or None
        Index into the tissue table (``tissues``) of each voxel; from the density where ``None``.
    hu_table : str
        Name of the conversion from Hounsfield units; empty where the density was given.
    findings : tuple of Finding
        What was assumed on the way.

    Raises
    ------
    InputError
        For a density that is NaN, negative, zero everywhere or beyond every metal.
    GeometryError
        Where ``material`` is not on the grid of ``density``.
    """

    density: sitk.Image
    material: sitk.Image | None = None
    hu_table: str = ""
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        density = array_of(self.density)
        if self.density.GetDimension() != 3:
            raise InputError(
                f"The density map has {self.density.GetDimension()} dimensions; a volume is needed."
            )
        if not np.isfinite(density).all():
            raise InputError(
                "The density map holds NaN or infinite voxels; give a density in g/cm3 everywhere."
            )
        low, high = float(density.min()), float(density.max())
        if low < 0 or high > LARGEST_DENSITY_G_CM3 or high == 0:
            msg = (
                f"The density map goes from {low:.4g} to {high:.4g}; g/cm3 between 0 and "
                f"{LARGEST_DENSITY_G_CM3:g} was expected. Is it in Hounsfield units or kg/m3?"
            )
            raise InputError(msg)
        if self.material is not None:
            require_same_grid(self.density, self.material, "The density and the material map")
            self._check_material()

    def _check_material(self) -> None:
        from TheranosticDoseLib import tissues

        names = [tissue.name for tissue in tissues.tissues()]
        index = array_of(self.material)
        whole = np.isfinite(index).all() and np.array_equal(index, np.round(index))
        if not whole or index.min() < 0 or index.max() >= len(names):
            known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
            raise InputError(f"The material map holds values that are no tissue index; known: {known}.")

    @classmethod
    def from_ct(cls, ct: sitk.Image) -> Anatomy:
        """Return the anatomy of a CT in Hounsfield units, on the grid of the CT.

        The conversion is the one of Schneider et al. 2000 (doi:10.1088/0031-9155/45/2/314);
        its table is named in ``hu_table``, values outside it become a finding.

        Raises
        ------
        InputError
            For a CT with NaN or infinite voxels.
        """
        import SimpleITK as sitk

        from TheranosticDoseLib import tissues

        image = sitk.Cast(ct, sitk.sitkFloat32)
        findings: list[Finding] = []
        density = image_like(tissues.density_from_hu(array_of(image), findings), image)
        return cls(density, None, tissues.HU_TABLE_NAME, tuple(findings))

    @classmethod
    def water(cls, grid: sitk.Image) -> Anatomy:
        """Return water of unit density on a grid: what is left to assume where there is no CT."""
        from TheranosticDoseLib import tissues

        finding = Finding(
            "assumption",
            "anatomy.density",
            "There is no CT: water of 1 g/cm3 was assumed everywhere.",
            value=1.0,
            source="default",
            remedy="Give the CT of the SPECT/CT or a density map.",
        )
        ones = np.ones(grid.GetSize()[::-1], np.float32)
        return cls(image_like(ones, grid), image_like(tissues.WATER * ones, grid), "", (finding,))

    def on_grid(self, grid: sitk.Image) -> Anatomy:
        """Return the anatomy on another grid; density is averaged over each coarser voxel (mass is kept).

        Voxels of ``grid`` beyond the field of view become air, with a finding where
        that concerns more than a rim.

        Raises
        ------
        InputError
            Where the two do not overlap at all.
        """
        import SimpleITK as sitk

        density = resample(self.density, grid, outside=AIR_DENSITY_G_CM3)
        material = None
        if self.material is not None:
            moved = resample(self.material, grid, order="nearest", outside=0.0)
            material = sitk.Cast(moved, self.material.GetPixelID())
        ones = sitk.Image(self.density.GetSize(), sitk.sitkUInt8) + 1
        ones.CopyInformation(self.density)
        covered = resample(ones, grid, order="nearest")
        inside = float(array_of(covered).mean())
        if inside == 0:
            raise InputError(
                "The CT or density map and the dose grid do not overlap; check that both are of this patient "
                "and in one frame of reference."
            )
        findings = self.findings
        if inside < 0.98:
            findings += (
                Finding(
                    "assumption",
                    "anatomy.field_of_view",
                    f"{100 * (1 - inside):.0f} % of the dose grid lies outside the CT; air was assumed there.",
                    value=1 - inside,
                    source="geometry of CT and dose grid",
                    remedy="Activity outside the CT gets no realistic dose; crop the grid to the CT.",
                ),
            )
        return Anatomy(density, material, self.hu_table, findings)

    def tissue_array(self) -> np.ndarray:
        """Return the tissue index of each voxel, ``(z, y, x)`` integers; not to be written to."""
        return self._tissue

    @functools.cached_property
    def _tissue(self) -> np.ndarray:
        from TheranosticDoseLib import tissues

        if self.material is not None:
            tissue = np.asarray(array_of(self.material)).astype(np.int16)
        else:
            tissue = tissues.tissue_from_density(np.asarray(array_of(self.density)))
        tissue.setflags(write=False)
        return tissue

    def mass_g(self) -> np.ndarray:
        """Return the mass of each voxel, g, ``(z, y, x)`` float64."""
        return np.asarray(array_of(self.density), np.float64) * voxel_volume_ml(self.density)
