"""De-blurring network: from the TIA of a blurred SPECT to the dose of the activity behind it.

Kernels keep the blur of the SPECT; this network learned the partial-volume effect from virtual
patients.  It adds activity that was not measured, so it is never the default and is shown beside ``cnn``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from TheranosticDoseLib.dose import cnn
from TheranosticDoseLib.dose.anatomy import Anatomy
from TheranosticDoseLib.dose.result import DoseResult
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.progress import Progress

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.nuclides import Nuclide

NAME = "cnn_pvc"


@dataclasses.dataclass(frozen=True)
class EngineSettings(cnn.EngineSettings):
    """Settings of the de-blurring network: those of ``cnn``, and the resolution.

    Attributes
    ----------
    resolution_mm : float
        Full width at half maximum of the SPECT.
    """

    # A de-blurred dose is less sure; the Monte Carlo knows nothing of blur, so nothing is handed over to it.
    doubt: float = 0.3
    resolution_mm: float = 11.0

    def validate(self) -> None:
        """Check the ranges."""
        super().validate()
        self.require(self.handover == "none", "handover", "none (the Monte Carlo does not de-blur)")
        self.require(9.0 <= self.resolution_mm <= 15.0, "resolution_mm", "9 to 15 mm, as trained")

    def folder(self) -> Path:
        """Return the folder of the network."""
        return Path(self.model) if self.model else cnn.model_folder(NAME)

    def unavailable(self) -> str | None:
        """Return what is missing for the network that was chosen."""
        return cnn.network_missing(NAME, self.folder)


def unavailable() -> str | None:
    """Return what is missing: packages, or the trained network."""
    return cnn.network_missing(NAME, lambda: cnn.model_folder(NAME))


def compute(
    tia: sitk.Image,
    anatomy: Anatomy,
    nuclide: Nuclide,
    settings: EngineSettings,
    progress: Progress | None = None,
) -> DoseResult:
    """Return the de-blurred dose with its predicted uncertainty; errors as ``cnn.compute``."""
    from TheranosticDoseLib.dose.cnn.engine import run

    result = run(settings.folder(), tia, anatomy, nuclide, settings, (settings.resolution_mm,) * 3, progress)
    finding = Finding(
        "warning",
        "dose.cnn_pvc.deblurred",
        f"This dose was de-blurred by a network for a SPECT of {settings.resolution_mm:g} mm resolution; "
        "it holds activity that was inferred, not measured.",
        value=settings.resolution_mm,
        source="settings: resolution_mm",
        remedy="Read it beside the dose of cnn, and set the measured resolution.",
    )
    result.record["findings"].append(finding.to_dict())
    return result
