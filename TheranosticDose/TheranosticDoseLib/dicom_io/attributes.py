"""Attributes of the study that outgoing objects repeat."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from TheranosticDoseLib.dicom_io.scan import Header, Series, numbers_of, value_of

PATIENT_AND_STUDY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
)


def study_attributes(
    scans: list[Any], cts: dict[str, Series], roles: dict[str, list[Series]], zone: dt.tzinfo | None
) -> dict[str, Any]:
    """Return patient and study attributes as text, and the references of each acquisition.

    Keys are DICOM keywords; ``acquisitions`` maps each label to ``spect`` and ``ct`` with
    ``series``, ``sop_class``, ``instances`` and ``frame_of_reference``; ``camera_factors``
    maps labels to counts/s/MBq; ``rtdose`` lists doses that lay in the folder.
    """
    dataset = scans[0].series.first.dataset
    values: dict[str, Any] = {}
    for keyword in PATIENT_AND_STUDY:
        value = value_of(dataset, keyword)
        if value is not None:
            values[keyword] = "\\".join(map(str, value)) if isinstance(value, list) else str(value)
    values["acquisitions"] = {
        scan.label: {
            "spect": _references(scan.series),
            **({"ct": _references(cts[scan.label])} if scan.label in cts else {}),
        }
        for scan in scans
    }
    factors = {scan.label: scan.given.camera_factor_cps_per_mbq for scan in scans}
    values["camera_factors"] = {label: factor for label, factor in factors.items() if factor is not None}
    values["rtdose"] = [header.name for series in roles["RTDOSE"] for header in series.headers]
    if zone is not None:
        values["clock"] = str(zone)
    return values


def _references(series: Series) -> dict[str, Any]:
    """Return what another object needs to refer to a series."""
    return {
        "study": str(series.get("StudyInstanceUID", "") or ""),
        "series": series.uid,
        "sop_class": str(series.get("SOPClassUID", "") or ""),
        "frame_of_reference": str(series.get("FrameOfReferenceUID", "") or ""),
        "instances": [str(header.get("SOPInstanceUID", "") or "") for header in _ascending(series)],
        "description": str(series.get("SeriesDescription", "") or ""),
    }


def _ascending(series: Series) -> list[Header]:
    """Return the files of a series in the order of the slices of its image."""
    orientation = numbers_of(series.first.dataset, "ImageOrientationPatient", 6)
    positions = [numbers_of(header.dataset, "ImagePositionPatient", 3) for header in series.headers]
    if orientation is None or None in positions:
        return list(series.headers)
    normal = np.cross(orientation[:3], orientation[3:])
    order = np.argsort(np.array(positions) @ normal, kind="stable")
    return [series.headers[i] for i in order]
