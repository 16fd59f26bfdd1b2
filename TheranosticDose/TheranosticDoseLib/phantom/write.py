"""Write a virtual patient as a site would have it (DICOM), and its truth."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import OutputError
from TheranosticDoseLib.phantom.patient import TruthVoi, VirtualPatient
from TheranosticDoseLib.progress import Progress, part_of, report

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io.write_common import SeriesTags

SIDECAR = "theranostic-dose.json"
SCHEMA = "theranostic-dosimetry/virtual-patient/1"
PARTS = ("dicom", "truth")
CODES = {
    "Liver": ("10200004", "Liver structure"),
    "Spleen": ("78961009", "Splenic structure"),
    "Kidney_L": ("18639004", "Left kidney structure"),
    "Kidney_R": ("9846003", "Right kidney structure"),
    "Lungs": ("39607008", "Lung structure"),
    "Stomach": ("69695003", "Stomach structure"),
    "Pancreas": ("15776009", "Pancreatic structure"),
    "Gallbladder": ("28231008", "Gallbladder structure"),
    "Bladder": ("89837001", "Urinary bladder structure"),
    "Marrow": ("14016003", "Bone marrow structure"),
    "Body": ("123037004", "Body structure"),
}
"""SNOMED CT."""


def write_patient(patient: VirtualPatient, out: Path, progress: Progress | None = None) -> Path:
    """Write ``out/dicom`` (what a site would have) and ``out/truth``.

    Parameters
    ----------
    patient : VirtualPatient
    out : pathlib.Path
    progress : callable, optional

    Returns
    -------
    pathlib.Path
        ``out``.

    Raises
    ------
    OutputError
        If ``out`` holds a ``dicom`` or ``truth`` folder that is not of a virtual patient (an earlier
        virtual patient is replaced), or cannot be written.
    """
    out = Path(out)
    if any((out / name).exists() for name in PARTS) and not _is_virtual_patient(out):
        raise OutputError(f"{out} holds a dicom or truth folder already; give an empty folder or remove it.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_dicom(patient, out / ".dicom.part", part_of(progress, 0.0, 0.5))
        _write_truth(patient, out / ".truth.part", part_of(progress, 0.5, 1.0))
        for name in PARTS:
            _remove(out / name)
            os.replace(out / f".{name}.part", out / name)
    except OSError as error:
        raise OutputError(f"{out} could not be written: {error.strerror or error}.") from error
    finally:
        for name in PARTS:
            _remove(out / f".{name}.part")
    report(progress, 1.0, f"Virtual patient written to {out}")
    return out


def _is_virtual_patient(out: Path) -> bool:
    """Whether a folder was written by :func:`write_patient` and may be replaced."""
    try:
        return json.loads((out / "truth" / "truth.json").read_text(encoding="utf-8"))["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _tags(
    patient: VirtualPatient, index: int, series: int, description: str, when: dt.datetime
) -> SeriesTags:
    from TheranosticDoseLib.dicom_io.write_common import SeriesTags

    label = f"{patient.time_h[index]:g}h"
    settings = json.dumps(patient.settings.to_dict(), sort_keys=True)
    return SeriesTags(
        uid_root=("virtual patient", str(patient.seed), settings),
        patient_id=f"VIRTUAL-{patient.seed:04d}",
        patient_name=f"Virtual^Patient {patient.seed}",
        study=f"SPECT/CT {label}",
        frame_of_reference=label,
        series_number=series,
        description=description,
        datetime=when,
        study_datetime=_start(patient, index),
        model="Virtual patient",
    )


def _start(patient: VirtualPatient, index: int) -> dt.datetime:
    return patient.administration.datetime + dt.timedelta(hours=patient.time_h[index])


def _write_dicom(patient: VirtualPatient, folder: Path, progress: Progress | None) -> None:
    """Write SPECT and CT of each time point, and the VOIs on the reference one."""
    from TheranosticDoseLib.dicom_io.write_ct import write_ct_series
    from TheranosticDoseLib.dicom_io.write_nm import write_nm_multiframe

    settings = patient.settings
    for index, time in enumerate(patient.time_h):
        report(progress, index / len(patient.time_h), f"DICOM of {time:g} h")
        place = folder / f"{time:g}h"
        start = _start(patient, index)
        after = start + dt.timedelta(seconds=settings.duration_s + 120)
        spect_tags = _tags(patient, index, 2, f"SPECT {time:g}h AC SC", start)
        spect = write_nm_multiframe(
            patient.spect[index], place / "NM" / "SPECT.dcm", spect_tags, _nm_scan(patient)
        )
        referenced, grid = [spect], patient.spect[index]
        if settings.ct:
            ct_tags = _tags(patient, index, 3, f"CT {time:g}h low dose", after)
            referenced = write_ct_series(patient.ct[index], place / "CT", ct_tags)
            grid = patient.ct[index]
        if index == settings.reference:
            _write_vois(patient, index, place / "RTSTRUCT" / "VOIs.dcm", referenced, grid)
    if settings.counts == "CNTS":
        _write_json(folder / SIDECAR, _sidecar(patient))


def _nm_scan(patient: VirtualPatient) -> Any:
    from TheranosticDoseLib.dicom_io.write_nm import NmScan
    from TheranosticDoseLib.nuclides import nuclide

    given = patient.administration
    return NmScan(
        unit=patient.settings.counts,
        duration_s=patient.settings.duration_s,
        nuclide=given.nuclide,
        radiopharmaceutical=given.radiopharmaceutical,
        activity_mbq=given.activity_mbq,
        injection=given.datetime,
        half_life_s=nuclide(given.nuclide).half_life_h * 3600.0,
    )


def _sidecar(patient: VirtualPatient) -> dict[str, Any]:
    """Return what a site knows beside its DICOM files where the images hold counts."""
    return {
        "injected_activity_mbq": patient.administration.activity_mbq,
        "injection_datetime": patient.administration.datetime.isoformat(),
        "camera_factor_cps_per_mbq": patient.settings.camera_factor_cps_per_mbq,
    }


def _write_vois(patient: VirtualPatient, index: int, path: Path, referenced: list[Path], grid) -> None:
    """Write the truth VOIs as RTSTRUCT on the reference time point."""
    from TheranosticDoseLib.dicom_io.write_rtstruct import ReferencedSeries, write_rtstruct

    when = _start(patient, index) + dt.timedelta(hours=2)
    tags = _tags(patient, index, 10, "VOIs of the virtual patient", when)
    vois = [study_voi(patient, voi) for voi in patient.vois]
    write_rtstruct(vois, grid, ReferencedSeries.of_files(referenced), path, tags, leave_out_empty=True)


def study_voi(patient: VirtualPatient, voi: TruthVoi) -> Any:
    """Return a truth VOI as a :class:`TheranosticDoseLib.study.Voi` on the truth grid."""
    from TheranosticDoseLib.geometry import image_like
    from TheranosticDoseLib.study import Voi

    value = CODES.get(voi.name)
    code = {"scheme": "SCT", "value": value[0], "meaning": value[1]} if value else None
    weights = image_like(patient.mask(voi), patient.labels)
    return Voi(voi.name, weights, kind=voi.kind, code=code, origin="truth of the virtual patient")


def _write_truth(patient: VirtualPatient, folder: Path, progress: Progress | None) -> None:
    """Write truth.json and the truth volumes."""
    import SimpleITK as sitk

    from TheranosticDoseLib.phantom.truth import truth_dose, truth_table

    folder.mkdir(parents=True)
    report(progress, 0.0, "Truth: volumes")
    sitk.WriteImage(patient.labels, str(folder / "labels.nii.gz"))
    _write_image(patient.tia_mbq_h_ml, folder / "tia.nii.gz")
    _write_image(patient.density_g_cm3, folder / "density.nii.gz")
    for time, field in zip(patient.time_h, patient.displacement, strict=True):
        vectors = sitk.Cast(field, sitk.sitkVectorFloat32)
        _write_image(vectors, folder / f"displacement_{time:g}h.nii.gz")
    report(progress, 0.3, "Truth: dose")
    dose = truth_dose(patient, part_of(progress, 0.3, 0.9))
    if dose is not None:
        _write_image(dose.dose, folder / "dose.nii.gz")
    _write_json(folder / "truth.json", {"schema": SCHEMA, **truth_table(patient, dose)})


def _write_image(image: sitk.Image, path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=3)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
