"""What the registration gives."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.study import Study

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class RegisteredStudy:
    """A study whose scans lie on one grid.

    Attributes
    ----------
    study : Study
        As it came in.
    reference : str
        Label of the reference acquisition.
    grid : SimpleITK.Image
        The dose grid: the grid of the reference SPECT.
    ct : SimpleITK.Image or None
        CT of the reference on the dose grid, HU; air outside its field of view.
    spect : tuple of SimpleITK.Image
        Bq/mL at scan time on the dose grid, one per acquisition in the order of the study.
    transforms : tuple of SimpleITK.Transform
        Points of the reference to points of the moving scan; identity for the reference.
    quality : tuple of dict
        One per acquisition: ``from``, ``to``, ``method``, ``image``, ``seconds``,
        ``similarity_metric``, ``similarity_before``, ``similarity_rigid``,
        ``similarity_deformable``, ``jacobian_min``, ``jacobian_max``, ``folded_fraction``,
        ``inverse_consistency_mm``, ``inverse_consistency_max_mm``, ``displacement_mean_mm``,
        ``displacement_max_mm``, ``activity_before_mbq``, ``activity_after_mbq``,
        ``activity_relative_change``, ``activity_outside_mbq``.
    findings : tuple of Finding
    """

    study: Study
    reference: str
    grid: sitk.Image
    ct: sitk.Image | None
    spect: tuple[sitk.Image, ...]
    transforms: tuple[sitk.Transform, ...]
    quality: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...] = ()

    def index(self, label: str) -> int:
        """Return the position of an acquisition; ``KeyError`` where there is none."""
        for position, acquisition in enumerate(self.study.acquisitions):
            if acquisition.label == label:
                return position
        raise KeyError(label)
