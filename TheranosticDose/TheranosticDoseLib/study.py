"""The study: what every step takes and gives.

Volumes are ``SimpleITK.Image`` (LPS, mm).  All dataclasses are frozen: a step
returns a new study (``dataclasses.replace``), so what an earlier step gave stays as it was.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.findings import Finding

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class Administration:
    """What was given to the patient.

    Attributes
    ----------
    nuclide : str
        For example ``Lu-177`` (a key of the nuclide tables).
    activity_mbq : float or None
        Activity that reached the patient (measured minus residual) at ``datetime``, MBq.
    datetime : datetime.datetime or None
        Time of the injection (start of the infusion); all times of a study share one clock.
    radiopharmaceutical : str
        For example ``177Lu-DOTATATE``.
    residual_mbq : float
        Residual in syringe and line that was already subtracted, MBq.
    relative_uncertainty : float
        Of the activity (k=1).
    """

    nuclide: str = "Lu-177"
    activity_mbq: float | None = None
    datetime: dt.datetime | None = None
    radiopharmaceutical: str = ""
    residual_mbq: float = 0.0
    relative_uncertainty: float = 0.03


@dataclasses.dataclass(frozen=True)
class Correction:
    """One correction that was applied to an acquisition, with its relative uncertainty (k=1)."""

    name: str
    factor: float
    relative_uncertainty: float = 0.0
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Acquisition:
    """One SPECT/CT.

    Attributes
    ----------
    label : str
        Unique in the study, for example ``24h``.
    time_h : float
        Start of the SPECT acquisition, hours after the administration.
    spect : SimpleITK.Image
        float32.  ``unit`` tells what it holds.
    unit : str
        ``BQML`` (Bq/mL **at the start of the acquisition**, whatever the file was decay-corrected to)
        or ``CNTS`` (counts of the whole acquisition).
    ct : SimpleITK.Image or None
        float32, Hounsfield units, its own grid.
    duration_s : float or None
        Real time of the acquisition, s; for a SPECT the whole rotation.
    datetime : datetime.datetime or None
        Start of the acquisition.
    frame_of_reference : str
        DICOM Frame of Reference UID of the SPECT.
    corrections : tuple of Correction
        What was done to the voxel values since the file.
    files : tuple of str
        Files it came from.
    """

    label: str
    time_h: float
    spect: sitk.Image
    unit: str = "BQML"
    ct: sitk.Image | None = None
    duration_s: float | None = None
    datetime: dt.datetime | None = None
    frame_of_reference: str = ""
    corrections: tuple[Correction, ...] = ()
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Voi:
    """A volume of interest.

    Attributes
    ----------
    name : str
        Unique within its acquisition.
    weights : SimpleITK.Image
        float32, the fraction of each voxel that is inside, 0 to 1.
    acquisition : str
        Label of the acquisition it was drawn on; empty: the reference one.
    kind : str
        ``organ``, ``lesion``, ``body`` or ``other``.
    code : dict or None
        DICOM code ``{"scheme": "SCT", "value": "64033007", "meaning": "Kidney"}``.
    origin : str
        Who made it: ``RTSTRUCT``, ``SEG``, ``file``, a tool or a network with its version.
    """

    name: str
    weights: sitk.Image
    acquisition: str = ""
    kind: str = "organ"
    code: dict[str, str] | None = None
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """A patient's scans of one administration, with all that was found about them."""

    administration: Administration
    acquisitions: tuple[Acquisition, ...]
    vois: tuple[Voi, ...] = ()
    findings: tuple[Finding, ...] = ()
    patient_id: str = ""
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Relative file name to SHA-256 of every file that was read."""
    dicom: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Patient and study level attributes that outgoing DICOM objects must repeat."""

    @property
    def time_h(self) -> tuple[float, ...]:
        """Times of the acquisitions, h after the administration."""
        return tuple(acquisition.time_h for acquisition in self.acquisitions)

    def acquisition(self, label: str) -> Acquisition:
        """Return the acquisition with this label; ``KeyError`` where there is none."""
        for acquisition in self.acquisitions:
            if acquisition.label == label:
                return acquisition
        raise KeyError(label)

    def with_findings(self, *findings: Finding) -> Study:
        """Return the study with these findings added."""
        return dataclasses.replace(self, findings=self.findings + tuple(findings))
