"""Figures of the segmentation: virtual patients, a real CT, the lesions of the real patient, time and memory."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.validation import segmentation_networks
from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported
from TheranosticDoseLib.validation.segmentation_networks import TRUTH, data_folder, truth_on

if TYPE_CHECKING:
    from TheranosticDoseLib.phantom import VirtualPatient

FIRST_HELD_OUT = 200000
"""Seeds from here on are never trained on, nor used to choose anything (those from 100000 on are)."""
_METHODS = ("adaptive_threshold", "watershed", "fuzzy_c_means", "region_growing")


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures of the segmentation.

    Parameters
    ----------
    out : Path
        Not used; the topic has no pictures.
    progress : callable, optional
    quick : bool
        Two virtual patients instead of eight.
    """
    count = 2 if quick else 8
    cases: list[dict[str, Any]] = []
    for number in range(count):
        report(progress, 0.7 * number / count, f"Virtual patient {number + 1} of {count}")
        cases.append(_case(FIRST_HELD_OUT + number))
    result = _organ_figures(cases) + _lesion_figures(cases)
    report(progress, 0.7, "Networks")
    result += segmentation_networks.figures([case["patient"] for case in cases], huge=not quick)
    report(progress, 0.8, "Real images")
    return result + _real_ct() + _real_lesions()


def _case(seed: int) -> dict[str, Any]:
    """Return what the classical backend finds in one virtual patient, beside the truth."""
    from DoseSegmentationLib import backends

    from TheranosticDoseLib.phantom import virtual_patient
    from TheranosticDoseLib.segmentation_samples import random_settings

    settings = dataclasses.replace(random_settings(seed), ct_size=(192, 192), ct_slice_mm=3.0)
    patient = virtual_patient(seed, settings)
    wall, cpu = time.perf_counter(), time.process_time()
    found = backends.segment("classical", patient.ct[0], patient.spect[0])
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    organs, instances = truth_on(patient, patient.ct[0])
    return {
        "patient": patient,
        "organs": organs,
        "found": found,
        "seconds": seconds,
        "clicks": _clicks(patient),
        "detection": _detection(found, instances),
    }


def _mask(found: Any, name: str) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(found.mask(name)) > 0


def _organ_figures(cases: list[dict[str, Any]]) -> list[Figure]:
    """Return the Dice of what the classical backend segments on the CT."""
    import SimpleITK as sitk
    from DoseSegmentationLib.evaluation import agreement, bootstrap

    from TheranosticDoseLib.segmentation_samples import ORGANS

    result = []
    for name in ("Body", "Lung left", "Lung right", "Bone"):
        scores = []
        for case in cases:
            names = [record.name for record in case["found"].records]
            if name == "Body":
                mask, truth = sitk.GetArrayViewFromImage(case["found"].label_map) > 0, case["organs"] > 0
            else:
                truth = case["organs"] == 1 + ORGANS.index(name)
                mask = _mask(case["found"], name) if name in names else np.zeros_like(truth)
            if truth.any():
                spacing = case["patient"].ct[0].GetSpacing()[::-1]
                scores.append(agreement(mask, truth, spacing))
        mean, low, high = bootstrap([score.dice for score in scores])
        surface = bootstrap([score.surface_dice for score in scores])[0]
        detail = f"95 % interval {low:.3f} to {high:.3f}, {len(scores)} patients; surface Dice at 3 mm {surface:.3f}"
        result.append(at_least(f"classical, {name}: Dice", mean, 0.93, reference=TRUTH, detail=detail))
    wall, cpu = (max(case["seconds"][i] for case in cases) for i in (0, 1))
    result.append(
        at_most("classical: longest time", wall, 60.0, "s", detail=f"{cpu:.1f} s of processor time")
    )
    return result


def _detection(found: Any, instances: np.ndarray) -> dict[str, Any]:
    """Count the lesions among the hot regions."""
    import SimpleITK as sitk
    from DoseSegmentationLib.evaluation import lesion_detection

    labels = sitk.GetArrayViewFromImage(found.label_map)
    hot = [record.label for record in found.records if record.name.startswith("Hot region")]
    voxel_ml = float(np.prod(found.label_map.GetSpacing())) / 1000.0
    return lesion_detection(np.where(np.isin(labels, hot), labels, 0), instances, voxel_ml)


def _clicks(patient: VirtualPatient) -> dict[str, list[float]]:
    """Return per method the Dice of each lesion of 5 mL or more from one click in its middle."""
    import SimpleITK as sitk
    from DoseSegmentationLib import classical_lesions
    from DoseSegmentationLib.classical import SegmentationError

    spect = patient.spect[0]
    _, truth = truth_on(patient, spect)
    voxel_ml = float(np.prod(spect.GetSpacing())) / 1000.0
    scores: dict[str, list[float]] = {method: [] for method in _METHODS}
    for number in np.unique(truth[truth > 0]):
        lesion = truth == number
        if lesion.sum() * voxel_ml < 5.0:
            continue
        middle = np.argwhere(lesion).mean(axis=0)[::-1]
        seed = spect.TransformContinuousIndexToPhysicalPoint(middle.tolist())
        for method in _METHODS:
            try:
                found = sitk.GetArrayFromImage(getattr(classical_lesions, method)(spect, seed)) > 0
            except SegmentationError:
                found = np.zeros_like(lesion)
            scores[method].append(2.0 * float((found & lesion).sum()) / float(found.sum() + lesion.sum()))
    return scores


def _lesion_figures(cases: list[dict[str, Any]]) -> list[Figure]:
    from DoseSegmentationLib.evaluation import bootstrap

    total = sum(case["detection"]["lesions"] for case in cases)
    seen = sum(case["detection"]["found"] for case in cases)
    extra = sum(case["detection"]["false_positives"] for case in cases) / len(cases)
    dice = [value for case in cases for value in case["detection"]["dice"]]
    result = []
    if total:
        detail = f"{seen} of {total} lesions of 5 mL or more; {extra:.1f} other hot regions per patient, which are "
        detail += "physiological uptake by design: the user names or deletes them"
        result.append(reported("classical, hot regions: lesions found", 100.0 * seen / total, "%",
                               reference=TRUTH, detail=detail))  # fmt: skip
        result.append(
            reported("classical, hot regions: Dice of those found", bootstrap(dice)[0], reference=TRUTH)
        )
    for method in _METHODS:
        values = [value for case in cases for value in case["clicks"][method]]
        if values:
            mean, low, high = bootstrap(values)
            detail = f"95 % interval {low:.3f} to {high:.3f}, {len(values)} lesions of 5 mL or more, cold ones included"
            name = f"one click, {method.replace('_', ' ')}: Dice"
            result.append(reported(name, mean, reference=TRUTH, detail=detail))
    return result


def _real_ct() -> list[Figure]:
    """Return the Dice of lungs and bone on a real CT; left out where it is not there."""
    import SimpleITK as sitk
    from DoseSegmentationLib import backends

    folder = data_folder() / "ct_reference_segmentation" / "tests" / "reference_files"
    if not (folder / "example_ct_sm.nii.gz").is_file():
        return []
    found = backends.segment("classical", sitk.ReadImage(str(folder / "example_ct_sm.nii.gz")))
    groups = {
        "Lung left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
        "Lung right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
        "Bone": ("rib_", "vertebrae", "hip", "sacrum", "sternum"),
    }
    source = "real CT of 90 mm height with the segmentation of TotalSegmentator (not of a reader), Apache-2.0"
    result = []
    for name, parts in groups.items():
        files = [
            p for p in sorted((folder / "example_seg_fast").glob("*.nii.gz")) if p.name.startswith(parts)
        ]
        truth = np.any([sitk.GetArrayFromImage(sitk.ReadImage(str(p))) > 0 for p in files], axis=0)
        mask = _mask(found, name)
        dice = 2.0 * float((mask & truth).sum()) / max(1.0, float(mask.sum() + truth.sum()))
        detail = f"{truth.sum() * 0.027:.0f} mL in the reference, {mask.sum() * 0.027:.0f} mL found"
        result.append(reported(f"real CT, classical, {name}: Dice", dice, reference=source, detail=detail))
    return result


def _real_lesions() -> list[Figure]:
    """Return the Dice of both lesions of the real patient at both time points from one click each."""
    import SimpleITK as sitk
    from DoseSegmentationLib import classical_lesions
    from DoseSegmentationLib.classical import SegmentationError

    from TheranosticDoseLib.dicom_io import load_study

    folder = data_folder() / "lu177_dotatate_patient_spect"
    if not folder.is_dir():
        return []
    study = load_study(folder)
    spects = {acquisition.label: acquisition.spect for acquisition in study.acquisitions}
    result = []
    for method in _METHODS:
        scores = []
        for voi in study.vois:
            spect = spects[voi.acquisition]
            weights = sitk.Resample(voi.weights, spect, sitk.Transform(), sitk.sitkLinear, 0.0)
            truth = sitk.GetArrayFromImage(weights) > 0.5
            middle = np.argwhere(truth).mean(axis=0)[::-1]
            seed = spect.TransformContinuousIndexToPhysicalPoint(middle.tolist())
            try:
                found = sitk.GetArrayFromImage(getattr(classical_lesions, method)(spect, seed)) > 0
            except SegmentationError:
                found = np.zeros_like(truth)
            scores.append(2.0 * float((found & truth).sum()) / float(found.sum() + truth.sum()))
        detail = "each: " + ", ".join(f"{score:.2f}" for score in scores)
        name = f"real lesions, one click, {method.replace('_', ' ')}: mean Dice"
        source = "RTSTRUCT of the real patient, two lesions at two time points, doi 10.7302/0n8e-rz46"
        result.append(reported(name, float(np.mean(scores)), reference=source, detail=detail))
    return result
