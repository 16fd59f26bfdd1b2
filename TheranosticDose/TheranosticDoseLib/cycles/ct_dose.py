"""What the CTs of the SPECT/CTs gave: CTDIvol and DLP from dose reports (RDSR) and image headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding

if TYPE_CHECKING:
    from pydicom import Dataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
RDSR = "1.2.840.10008.5.1.4.1.1.88.67"
ACQUISITION, TOTAL_DLP = "113819", "113813"
MEAN_CTDI, DLP = "113830", "113838"
TRUNK_MSV_PER_MGY_CM = 0.015
"""Effective dose per DLP of the trunk of an adult; AAPM Report 96 (2008), table 3."""


def ct_doses(
    paths: Sequence[str | Path], patient_id: str = ""
) -> tuple[list[dict[str, Any]], tuple[Finding, ...]]:
    """List the CT doses of folders of DICOM, one entry a study or series.

    A dose report (RDSR) says the DLP of its whole study; where a study has none, it is estimated from
    the images as the sum of CTDIvol (0018,9345) times the slice spacing (overranging is not in it).

    Parameters
    ----------
    paths : sequence of Path
        Folders or files.
    patient_id : str
        Objects of another patient are an error.

    Returns
    -------
    doses : list of dict
        ``date``, ``description``, ``ctdivol_mgy``, ``dlp_mgy_cm``, ``effective_msv`` (trunk), ``source``.
    findings : tuple of Finding
    """
    reports: dict[str, Dataset] = {}
    images: dict[str, dict[str, list[Dataset]]] = {}
    for dataset, path in _objects(paths):
        other = str(getattr(dataset, "PatientID", "") or "")
        if patient_id and other and other != patient_id:
            raise InputError(f"{path} is of patient {other}, the cycles are of {patient_id}.")
        study = str(getattr(dataset, "StudyInstanceUID", ""))
        if dataset.SOPClassUID == RDSR:
            reports[str(dataset.SOPInstanceUID)] = dataset
        else:
            images.setdefault(study, {}).setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    doses = [_of_report(dataset) for dataset in reports.values()]
    covered = {str(dataset.StudyInstanceUID) for dataset in reports.values()}
    findings = []
    for study, series in images.items():
        if study in covered:
            continue
        for slices in series.values():
            dose, finding = _of_images(slices)
            doses += [dose] if dose else []
            findings.append(finding)
    return sorted(doses, key=lambda dose: dose["date"]), tuple(findings)


def _objects(paths: Sequence[str | Path]) -> Iterator[tuple[Dataset, Path]]:
    """Give the headers of CT images and RDSRs; other files are passed over."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    for path in map(Path, paths):
        if not path.exists():
            raise InputError(f"There is nothing at {path}.")
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            try:
                dataset = pydicom.dcmread(file, stop_before_pixels=True)
            except (InvalidDicomError, OSError, EOFError):
                continue
            if getattr(dataset, "SOPClassUID", "") in (CT_IMAGE, RDSR):
                yield dataset, file


def _entry(date: str, description: str, ctdi: float | None, dlp: float, source: str) -> dict[str, Any]:
    return {
        "date": date,
        "description": description,
        "ctdivol_mgy": ctdi,
        "dlp_mgy_cm": dlp,
        "effective_msv": dlp * TRUNK_MSV_PER_MGY_CM,
        "source": source,
    }


def _of_report(dataset: Dataset) -> dict[str, Any]:
    """Sum the acquisitions of a dose report; its own total where it has none."""
    found = {code: list(_numbers(dataset, code)) for code in (MEAN_CTDI, DLP, TOTAL_DLP)}
    total = sum(found[DLP]) if found[DLP] else sum(found[TOTAL_DLP])
    if not found[DLP] and not found[TOTAL_DLP]:
        uid = dataset.SOPInstanceUID
        raise InputError(f"The dose report {uid} holds no DLP (113838, 113813 DCM); it cannot be used.")
    ctdi = max(found[MEAN_CTDI], default=None)
    description = str(getattr(dataset, "StudyDescription", "") or "CT")
    return _entry(str(getattr(dataset, "StudyDate", "")), description, ctdi, total, "RDSR")


def _numbers(dataset: Dataset, code: str) -> Iterator[float]:
    """Give every number with this DCM code, wherever it is in the tree."""
    for item in getattr(dataset, "ContentSequence", ()):
        name = item.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in item else None
        if name is not None and name.CodeValue == code and "MeasuredValueSequence" in item:
            yield float(item.MeasuredValueSequence[0].NumericValue)
        yield from _numbers(item, code)


def _of_images(slices: list[Dataset]) -> tuple[dict[str, Any] | None, Finding]:
    first = slices[0]
    name = f"CT series {getattr(first, 'SeriesNumber', '')} of {getattr(first, 'StudyDate', '')}".strip()
    known = [float(s.CTDIvol) for s in slices if getattr(s, "CTDIvol", None) is not None]
    if len(known) < len(slices):
        message = (
            f"{name}: CTDIvol (0018,9345) is missing in {len(slices) - len(known)} of {len(slices)} images."
        )
        return None, Finding(
            "missing", "ct_dose", message, remedy="Give the dose report (RDSR) of the study."
        )
    spacing = _spacing(slices)
    if spacing is None:
        message = f"{name}: the spacing of its slices is not known; its DLP cannot be estimated."
        return None, Finding(
            "missing", "ct_dose", message, remedy="Give the dose report (RDSR) of the study."
        )
    dlp = sum(known) * spacing / 10
    message = f"{name}: the DLP is estimated from CTDIvol and the length of the images, without overranging."
    finding = Finding(
        "assumption", "ct_dose", message, dlp, "CTDIvol (0018,9345)", "Give the dose report (RDSR)."
    )
    entry = _entry(str(getattr(first, "StudyDate", "")), name, sum(known) / len(known), dlp, "image headers")
    return entry, finding


def _spacing(slices: list[Dataset]) -> float | None:
    """Return the mean distance of the slices, mm."""
    import numpy as np

    places = [s.ImagePositionPatient for s in slices if "ImagePositionPatient" in s]
    if len(places) == len(slices) and len(slices) > 1 and "ImageOrientationPatient" in slices[0]:
        orientation = np.array(slices[0].ImageOrientationPatient, float)
        normal = np.cross(orientation[:3], orientation[3:])
        along = np.sort(np.array(places, float) @ normal)
        return float((along[-1] - along[0]) / (len(along) - 1)) or None
    thickness = getattr(slices[0], "SliceThickness", None)
    return float(thickness) if thickness else None
