"""Local energy deposition: what is charged stops in the voxel it was born in.

Electrons (beta, conversion, Auger), the kinetic energy of positrons, and alphas are
deposited in the voxel of the decay; its mass comes from the density.  Photons,
annihilation photons included, are left out: for 177Lu that is 19 % of the emitted
energy, of which an organ absorbs a small part.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.nuclides import Nuclide


@dataclasses.dataclass(frozen=True)
class EngineSettings(Settings):
    """Settings of local energy deposition.

    Attributes
    ----------
    minimum_density_g_cm3 : float
        In a thinner voxel (gas) an electron does not stop, so no dose is given; its
        energy is counted in the record.
    """

    minimum_density_g_cm3: float = 0.05

    def validate(self) -> None:
        """Check the range."""
        self.require(0 < self.minimum_density_g_cm3 <= 1, "minimum_density_g_cm3", "above 0, at most 1 g/cm3")


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
    """Return the dose of local energy deposition; see :func:`TheranosticDoseLib.dose.absorbed_dose`.

    ``D = A~ E / rho`` with the TIA concentration ``A~``, the charged-particle energy per
    decay ``E`` and the density ``rho`` (MIRD 21 with an absorbed fraction of one).
    """
    from TheranosticDoseLib.dose.engines import JOULE_PER_KEV, SECONDS_PER_HOUR, charged_energy_kev

    density = np.asarray(array_of(anatomy.density), np.float64)
    activity = np.asarray(array_of(tia), np.float64)
    solid = density >= settings.minimum_density_g_cm3
    charged = charged_energy_kev(nuclide)
    gy_g_per_mbq_h = 1e6 * SECONDS_PER_HOUR * charged * JOULE_PER_KEV * 1e3
    dose = np.divide(activity * gy_g_per_mbq_h, density, out=np.zeros_like(density), where=solid)
    left_out = float(activity[~solid].sum() / activity.sum())
    photon_share = nuclide.photon_energy_kev / (charged + nuclide.photon_energy_kev)
    findings = [
        Finding(
            "info",
            "dose.led.photons",
            f"Photons ({100 * photon_share:.0f} % of the emitted energy) are not in this dose.",
            value=photon_share,
            source=f"decay data of {nuclide.name}",
            remedy="Use vsv, vsv_density or mc to include them.",
        ).to_dict()
    ]
    if left_out > 0:
        findings.append(
            Finding(
                "info",
                "dose.led.gas",
                f"{100 * left_out:.2g} % of the activity lies in voxels below "
                f"{settings.minimum_density_g_cm3:g} g/cm3, which get no dose.",
                value=left_out,
                source="density",
            ).to_dict()
        )
    return DoseResult(image_like(dose, tia), None, {"findings": findings})
