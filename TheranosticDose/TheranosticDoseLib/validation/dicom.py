"""Figures of DICOM in and out: the real patient, contours against analytic areas, round trips."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation.figure import Figure, at_most, reported

PATIENT = "lu177_dotatate_patient_spect"
_PUBLISHED = "doi 10.7302/0n8e-rz46; totals as published by a second code"
_TOTAL_MBQ, _TIME_H, _INJECTED_MBQ = (1328.778, 883.019), (3.7411, 27.7253), 7210.43


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Measure the figures of the loader.

    Parameters
    ----------
    out : pathlib.Path
        Not written to.
    progress : callable, optional
    quick : bool
        The real patient is left out.

    Returns
    -------
    list of Figure
    """
    report(progress, 0.0, "Contours")
    found = [_circle(radius) for radius in (2.0, 5.0, 12.0)]
    found += _round_trips()
    folder = _reference_data() / PATIENT
    if quick or not folder.is_dir():
        return found
    report(progress, 0.1, "Loading the real patient")
    return found + _patient(folder)


def _reference_data() -> Path:
    checkout = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("THERANOSTIC_REFERENCE_DATA", checkout.parent / "shared" / "data"))


def _circle(radius_px: float) -> Figure:
    """Return how far the area of a rasterised circle lies from the analytic one."""
    from TheranosticDoseLib.dicom_io.contours import covered_fraction

    rng = np.random.default_rng(7)
    worst, points = 0.0, 180
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    exact = 0.5 * points * radius_px**2 * np.sin(2 * np.pi / points)
    for center in 20.0 + rng.random((50, 2)):
        polygon = center + radius_px * np.column_stack([np.cos(angle), np.sin(angle)])
        worst = max(worst, abs(covered_fraction([polygon], (40, 40)).sum() / exact - 1))
    name = f"RTSTRUCT: area of a circle of radius {radius_px:g} voxels, worst of 50 positions"
    return at_most(name, 100 * worst, 1.0, "%", reference="area of the polygon")


def _round_trips() -> list[Figure]:
    """Return what is lost when results are written as DICOM and read back."""
    import tempfile

    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io.out_common import Place
    from TheranosticDoseLib.dicom_io.out_dose import read_rtdose, write_rtdose
    from TheranosticDoseLib.dicom_io.out_parametric import read_parametric_map, write_parametric_map
    from TheranosticDoseLib.geometry import array_of
    from TheranosticDoseLib.study import Acquisition, Administration, Study

    # Five decades, as a dose map of a patient has.
    values = np.random.default_rng(11).lognormal(0.0, 2.0, (30, 40, 50)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    study = Study(Administration(), (Acquisition("24h", 24.0, image),), patient_id="validation")
    place = Place(study, "24h")
    with tempfile.TemporaryDirectory() as folder:
        dose = array_of(read_rtdose(write_rtdose(image, Path(folder) / "dose.dcm", place)))
        exact = array_of(
            read_parametric_map(write_parametric_map(image, Path(folder) / "map.dcm", place, "tia"))[0]
        )
    large = values > values.max() / 250
    detail = f"maximum {values.max():.4g} Gy, {100 * large.mean():.0f} % of the voxels above 1/250 of it"
    return [
        at_most(
            "RTDOSE round trip: voxels above 1/250 of the maximum that change",
            float(np.count_nonzero(dose[large] != values[large])), 0, "voxels", detail=detail,
        ),
        at_most(
            "RTDOSE round trip: largest change of a voxel, relative to the maximum",
            float(np.abs(dose.astype(np.float64) - values).max() / values.max()), 3e-10, detail=detail,
        ),
        at_most(
            "Parametric map round trip: voxels that change", float(np.count_nonzero(exact != values)), 0, "voxels"
        ),
    ]  # fmt: skip


def _patient(folder: Path) -> list[Figure]:
    """Return the figures of the real 177Lu-DOTATATE patient."""
    from time import process_time

    from TheranosticDoseLib.dicom_io import load_study
    from TheranosticDoseLib.geometry import total_activity_mbq

    start = process_time()
    study = load_study(folder)
    seconds = process_time() - start
    found = [
        at_most(
            "Real patient: injected activity, relative difference",
            100 * abs(study.administration.activity_mbq / _INJECTED_MBQ - 1), 0.1, "%", reference=_PUBLISHED,
        )
    ]  # fmt: skip
    for scan, total, time_h in zip(study.acquisitions, _TOTAL_MBQ, _TIME_H, strict=True):
        measured = total_activity_mbq(scan.spect)
        found.append(
            at_most(
                f"Real patient: total activity at {scan.label}, relative difference",
                100 * abs(measured / total - 1), 0.1, "%", reference=_PUBLISHED,
                detail=f"{measured:.3f} against {total} MBq",
            )
        )  # fmt: skip
        difference_s = 3600 * abs(scan.time_h - time_h)
        found.append(
            at_most(
                f"Real patient: time of {scan.label}, difference",
                difference_s,
                2.0,
                "s",
                reference=_PUBLISHED,
            )
        )
    found += _lesions(folder, study)
    detail = "CPU time; 2 x 199 slices of 256 x 256 and 2 structure sets"
    return [*found, reported("Real patient: time to load", seconds, "s", detail=detail)]


def _lesions(folder: Path, study) -> list[Figure]:
    """Return how far each lesion volume lies from the shoelace area of its contours times the slice distance."""
    import pydicom

    from TheranosticDoseLib.dicom_io.vois import volume_ml

    found = []
    for voi in study.vois:
        dataset = pydicom.dcmread(folder / voi.origin.removeprefix("RTSTRUCT "))
        names = {item.ROINumber: item.ROIName for item in dataset.StructureSetROISequence}
        contours = next(c for c in dataset.ROIContourSequence if names[c.ReferencedROINumber] == voi.name)
        area = sum(_shoelace(np.array(c.ContourData, float).reshape(-1, 3)) for c in contours.ContourSequence)
        expected = area * voi.weights.GetSpacing()[2] / 1000
        found.append(
            at_most(
                f"Real patient: volume of {voi.name} at {voi.acquisition}, relative difference",
                100 * abs(volume_ml(voi) / expected - 1), 1.0, "%",
                reference="shoelace area of the contours x slice distance",
                detail=f"{volume_ml(voi):.3f} against {expected:.3f} mL",
            )
        )  # fmt: skip
    return found


def _shoelace(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)
