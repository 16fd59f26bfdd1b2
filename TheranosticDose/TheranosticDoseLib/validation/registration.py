"""Figures of the registration: known displacements, real data, time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.study import Acquisition, Study
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.phantom import VirtualPatient
    from TheranosticDoseLib.registration import RegisteredStudy

_POINTS = 400
_TRUTH = "virtual patient, known displacement field"


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures of the registration.

    Parameters
    ----------
    out : Path
        Folder for the pictures (``registration_<label>_<kind>.png``).
    progress : callable, optional
    quick : bool
        One virtual patient instead of three.
    """
    from TheranosticDoseLib.phantom import PhantomSettings, virtual_patient

    result: list[Figure] = []
    seeds = (1,) if quick else (1, 2, 3)
    errors: dict[str, dict[str, list[float]]] = {}
    for number, seed in enumerate(seeds):
        step = part_of(progress, 0.9 * number / len(seeds), 0.9 * (number + 1) / len(seeds))
        patient = virtual_patient(seed, PhantomSettings(truth_engine="none"))
        wall, cpu = time.perf_counter(), time.process_time()
        registered = _registered(patient, step)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        _add_errors(errors, patient, registered)
        result += _registration_figures(registered, seed)
        if number == 0:
            size = " x ".join(str(n) for n in patient.ct[0].GetSize())
            detail = (
                f"{cpu:.1f} s of processor time; CTs of {size}, SPECTs moved as well, {os.cpu_count()} cores"
            )
            result.append(at_most("four CTs, rigid and deformable", wall, 60.0, "s", detail=detail))
            _write_pictures(registered, out)
    result = _error_figures(errors, len(seeds)) + result
    report(progress, 0.9, "Registration of the real patient")
    return result + _real_figures()


def _registered(patient: VirtualPatient, progress: Progress | None) -> RegisteredStudy:
    from TheranosticDoseLib.registration import RegistrationSettings, register

    scans = tuple(
        Acquisition(f"{hours:g}h", hours, spect, ct=ct)
        for hours, spect, ct in zip(patient.time_h, patient.spect, patient.ct, strict=True)
    )
    reference = scans[patient.settings.reference].label
    study = Study(patient.administration, scans)
    return register(study, RegistrationSettings(reference=reference), progress)


def _add_errors(errors: dict, patient: VirtualPatient, registered: RegisteredStudy) -> None:
    """Add the target registration errors (mm) of this patient, per organ and stage."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    for voi in patient.vois:
        if voi.kind == "body":
            continue
        where = np.argwhere(patient.mask(voi))[:, ::-1].astype(float)
        where = where[rng.permutation(len(where))[:_POINTS]]
        points = [patient.labels.TransformContinuousIndexToPhysicalPoint(index.tolist()) for index in where]
        kind = "lesions" if voi.kind == "lesion" else voi.name
        for k, transform in enumerate(registered.transforms):
            if k == patient.settings.reference:
                continue
            field = sitk.Cast(patient.displacement[k], sitk.sitkVectorFloat64)
            truth = _moved(sitk.DisplacementFieldTransform(field), points)
            for stage, one in _stages(transform).items():
                error = np.linalg.norm(_moved(one, points) - truth, axis=1)
                errors.setdefault(kind, {}).setdefault(stage, []).append(float(error.mean()))


def _stages(transform: sitk.Transform) -> dict[str, sitk.Transform]:
    """Return the transform before registration, after the rigid and after the deformable step."""
    import SimpleITK as sitk

    rigid = transform
    if transform.GetTransformEnum() == sitk.sitkComposite:
        rigid = sitk.CompositeTransform(transform).GetNthTransform(0)
    return {"before": sitk.Transform(3, sitk.sitkIdentity), "rigid": rigid, "deformable": transform}


def _moved(transform: sitk.Transform, points: list) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points])


def _error_figures(errors: dict, patients: int) -> list[Figure]:
    """Return the mean target registration error over all organs, and the three stages per organ."""

    def mean(stage: str) -> float:
        return float(np.mean([np.mean(stages[stage]) for stages in errors.values()]))

    detail = (
        f"before {mean('before'):.2f} mm, rigid {mean('rigid'):.2f} mm; {patients} patients, 3 scans each"
    )
    result = [
        at_most(
            "mean target registration error in organs",
            mean("deformable"),
            2.5,
            "mm",
            reference=_TRUTH,
            detail=detail,
        )
    ]
    for name, stages in errors.items():
        text = ", ".join(f"{stage} {np.mean(stages[stage]):.2f} mm" for stage in ("before", "rigid"))
        worst = f"worst scan {max(stages['deformable']):.2f} mm"
        result.append(
            reported(
                f"target registration error, {name}",
                float(np.mean(stages["deformable"])),
                "mm",
                reference=_TRUTH,
                detail=f"{text}; {worst}",
            )
        )
    return result


def _registration_figures(registered: RegisteredStudy, seed: int) -> list[Figure]:
    """Return folding, inverse consistency and activity of one registered study."""
    moved = [record for record in registered.quality if record["method"] != "reference"]
    low, high = min(r["jacobian_min"] for r in moved), max(r["jacobian_max"] for r in moved)
    change = max(abs(r["activity_relative_change"]) for r in moved)
    largest = max(r["inverse_consistency_max_mm"] for r in moved)
    return [
        at_most(
            f"folded fraction, patient {seed}",
            max(r["folded_fraction"] for r in moved),
            0.0,
            detail=f"Jacobian {low:.2f} to {high:.2f}",
        ),
        reported(
            f"inverse consistency, patient {seed}",
            max(r["inverse_consistency_mm"] for r in moved),
            "mm",
            detail=f"mean in the body of the worst scan; largest {largest:.3f} mm",
        ),
        at_most(
            f"change of the total activity, patient {seed}",
            100 * change,
            2.0,
            "%",
            detail="largest of the scans",
        ),
    ]


def _write_pictures(registered: RegisteredStudy, out: Path) -> None:
    from TheranosticDoseLib.registration import quality_pictures

    out.mkdir(parents=True, exist_ok=True)
    for acquisition in registered.study.acquisitions:
        if acquisition.label == registered.reference:
            continue
        for kind, data in quality_pictures(registered, acquisition.label).items():
            path = out / f"registration_{acquisition.label}_{kind}.png"
            temporary = path.with_suffix(".part")
            temporary.write_bytes(data)
            temporary.replace(path)


def _real_figures() -> list[Figure]:
    """Return what the registration does to the two SPECTs of the real patient."""
    root = os.environ.get("THERANOSTIC_REFERENCE_DATA")
    data = Path(root) if root else Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = data / "lu177_dotatate_patient_spect"
    if not folder.is_dir():
        return [reported("real SPECT pair", float("nan"), detail="left out: the reference data are not here")]
    from TheranosticDoseLib.dicom_io import load_study
    from TheranosticDoseLib.registration import RegistrationSettings, register
    from TheranosticDoseLib.voi_tools import dice, map_voi

    study = load_study(folder)
    registered = register(study, RegistrationSettings())
    moved = next(record for record in registered.quality if record["method"] != "reference")
    source = "lu177_dotatate_patient_spect, doi 10.7302/0n8e-rz46"
    result = [
        at_least(
            "real SPECT pair, correlation after rigid registration",
            moved["similarity_rigid"],
            moved["similarity_before"],
            reference=source,
            detail=f"limit: before it; {moved['seconds']:.1f} s",
        ),
        reported(
            "real SPECT pair, change of the total activity", 100 * moved["activity_relative_change"], "%"
        ),
    ]
    position = registered.index(moved["from"])
    pairs: dict[str, list] = {}
    for voi in study.vois:
        pairs.setdefault(voi.name, []).append(voi)
    for name, drawn in pairs.items():
        if len(drawn) != 2:
            continue
        fixed, moving = sorted(drawn, key=lambda one: one.acquisition == moved["from"])
        still = dice(
            map_voi(fixed, registered.grid).voi.weights, map_voi(moving, registered.grid).voi.weights
        )
        there = map_voi(moving, registered.grid, registered.transforms[position]).voi.weights
        after = dice(map_voi(fixed, registered.grid).voi.weights, there)
        result.append(
            reported(
                f"real SPECT pair, Dice of {name} drawn on both scans",
                after,
                reference=source,
                detail=f"before registration {still:.3f}; each was drawn by hand on its own scan",
            )
        )
    return result
