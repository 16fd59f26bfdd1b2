"""GATE 10 (opengate, Geant4) in a process of its own, on the same activity and anatomy.

An optional extra: ``pip install opengate``, and its Geant4 data.  Importing opengate starts a
download where the data are missing, so the folder is checked first and opengate is only ever
imported by the child process.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.progress import Progress
from TheranosticDoseLib.settings import Settings

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.nuclides import Nuclide


@dataclasses.dataclass(frozen=True)
class EngineSettings(Settings):
    """Settings of a GATE run.

    Attributes
    ----------
    histories : int
        Decays, in all threads together.
    seed : int
    threads : int
    cut_mm : float
        Production cut.  The default of 0.7 mm smears the energy of Compton electrons along the step.
    max_step_mm : float
        Longest step of an electron; long steps miss dose in the neighbouring voxel.
    physics : str
        Geant4 physics list.
    density_step : float
        Voxels whose densities differ by less than this fraction share a material.
    """

    histories: int = 1_000_000
    seed: int = 1
    threads: int = 2
    cut_mm: float = 0.01
    max_step_mm: float = 0.1
    physics: str = "G4EmStandardPhysics_option4"
    density_step: float = 0.04

    def validate(self) -> None:
        """Check the ranges."""
        self.require(self.histories >= 1, "histories", "1 or more")
        self.require(self.threads >= 1, "threads", "1 or more")
        self.require(self.seed >= 1, "seed", "1 or more")
        self.require(
            0 < self.cut_mm <= 0.05, "cut_mm", "above 0, at most 0.05 mm (longer cuts smear the dose)"
        )
        self.require(0 < self.max_step_mm <= 1, "max_step_mm", "above 0, at most 1 mm")
        self.require(0 < self.density_step <= 0.2, "density_step", "above 0, at most 0.2")


def unavailable() -> str | None:
    """Say what is missing: opengate, or its Geant4 data."""
    from TheranosticDoseLib.dose.gate.installation import missing

    return missing()


def compute(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> DoseResult:
    """Return the dose of a GATE run; see :func:`TheranosticDoseLib.dose.absorbed_dose`."""
    from TheranosticDoseLib.dose.gate.process import simulate

    return simulate(tia, anatomy, nuclide, settings, progress)
