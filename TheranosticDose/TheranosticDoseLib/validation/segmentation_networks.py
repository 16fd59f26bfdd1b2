"""The shipped networks, measured: virtual patients and real images that none was trained on.

``figures`` gives the figures of the validation; ``card_tables`` what a model card says, by the same functions.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.validation.figure import Figure, at_least, at_most, reported

if TYPE_CHECKING:
    import SimpleITK as sitk
    from DoseSegmentationLib.evaluation import Agreement

    from TheranosticDoseLib.phantom import VirtualPatient

TRUTH = "truth of virtual patients that no network was trained on"
ORGAN_LIMIT, LESION_ML, MEMORY_GIB = 0.93, 5.0, 6.0
HUGE = (512, 512, 1000)
"""Voxels (x, y, z) of the largest CT."""
_REAL_LABELS = {15000: "Liver", 16000: "Spleen", 17000: "Kidney left", 18000: "Kidney right"}
_REAL_AIMS = {"Liver": 0.90, "Spleen": 0.85, "Kidney left": 0.85, "Kidney right": 0.85}
_REAL_CT = "real low-dose CT of a 177Lu patient with drawn organs (MIT licence), never trained on"
_REAL_LESIONS = (
    "RTSTRUCT of the real patient, two lesions at two time points, SPECT only, doi 10.7302/0n8e-rz46"
)


def data_folder() -> Path:
    """Return where the reference data are looked for."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    return Path(os.environ.get("THERANOSTIC_REFERENCE_DATA", beside))


def truth_on(patient: VirtualPatient, grid: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return organ labels and lesion numbers ``(z, y, x)`` of a patient on a grid."""
    import SimpleITK as sitk

    from TheranosticDoseLib.segmentation_samples import organ_labels

    labels = sitk.Resample(patient.labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return organ_labels(patient, sitk.GetArrayFromImage(labels))


def organ_case(patient: VirtualPatient, backend: str = "organs_ct") -> tuple[dict[str, Agreement], float]:
    """Segment the CT of a virtual patient; return the agreement of each organ in view and the seconds."""
    import SimpleITK as sitk
    from DoseSegmentationLib import backends
    from DoseSegmentationLib.evaluation import agreement

    from TheranosticDoseLib.segmentation_samples import ORGANS

    ct = patient.ct[0]
    start = time.perf_counter()
    found = backends.segment(backend, ct)
    seconds = time.perf_counter() - start
    truth, _ = truth_on(patient, ct)
    activity = sitk.Resample(patient.spect[0], ct, sitk.Transform(), sitk.sitkLinear, 0.0)
    activity = sitk.GetArrayFromImage(activity)
    rows = {}
    for number, name in enumerate(ORGANS, start=1):
        mask = sitk.GetArrayFromImage(found.mask(name)) > 0
        organ = truth == number
        if name == "Body":
            # What is in no organ of the list; the outline of the body is what counts.
            mask, organ = sitk.GetArrayFromImage(found.label_map) > 0, truth > 0
        if organ.any():
            rows[name] = agreement(mask, organ, ct.GetSpacing()[::-1], activity)
    return rows, seconds


def lesion_case(
    patient: VirtualPatient, backend: str = "lesions_spect_ct", with_ct: bool = True
) -> tuple[dict[str, Any], float]:
    """Look for the lesions of a virtual patient; return ``evaluation.lesion_detection`` and the seconds."""
    import SimpleITK as sitk
    from DoseSegmentationLib import backends
    from DoseSegmentationLib.evaluation import lesion_detection

    start = time.perf_counter()
    ct = patient.ct[0] if with_ct else None
    found = backends.segment(backend, ct, patient.spect[0], ["Lesion"])
    seconds = time.perf_counter() - start
    _, instances = truth_on(patient, found.label_map)
    voxel_ml = float(np.prod(found.label_map.GetSpacing())) / 1000.0
    labels = sitk.GetArrayFromImage(found.label_map)
    return lesion_detection(labels, instances, voxel_ml, LESION_ML), seconds


def real_organs(backend: str = "organs_ct") -> dict[str, Agreement]:
    """Return the agreement with the drawn organs of the real CT; empty where it is not there."""
    import SimpleITK as sitk
    from DoseSegmentationLib import backends
    from DoseSegmentationLib.evaluation import agreement

    folder = data_folder() / "lu177_patient_ct_organs"
    if not (folder / "patient15_LuDOTATATE_attn.i33").is_file():
        return {}
    # Stored with y to the front and slices towards the feet: turned, not mirrored.
    ct, labels = (
        np.fromfile(folder / f"patient15_LuDOTATATE_{kind}.i33", "<u2").reshape(90, 70, 108)[::-1, ::-1]
        for kind in ("attn", "src")
    )
    image = sitk.GetImageFromArray(np.where(ct >= 3000, 0, ct).astype(np.float32) - 1024.0)
    image.SetSpacing((3.9063, 3.9063, 4.4196))
    found = backends.segment(backend, image)
    masks = {name: sitk.GetArrayFromImage(found.mask(name)) > 0 for name in _REAL_LABELS.values()}
    spacing = image.GetSpacing()[::-1]
    return {name: agreement(masks[name], labels == value, spacing) for value, name in _REAL_LABELS.items()}


def real_lesions(backend: str = "lesions_spect_ct") -> list[float]:
    """Return the Dice of each drawn lesion of the real patient at each time point; empty where it is not there."""
    import SimpleITK as sitk
    from DoseSegmentationLib import backends

    from TheranosticDoseLib.dicom_io import load_study

    folder = data_folder() / "lu177_dotatate_patient_spect"
    if not folder.is_dir():
        return []
    study, scores = load_study(folder), []
    for acquisition in study.acquisitions:
        found = backends.segment(backend, None, acquisition.spect, ["Lesion"])
        labels = sitk.GetArrayFromImage(found.label_map)
        for voi in study.vois:
            if voi.acquisition == acquisition.label:
                weights = sitk.Resample(
                    voi.weights, acquisition.spect, sitk.Transform(), sitk.sitkLinear, 0.0
                )
                truth = sitk.GetArrayFromImage(weights) > 0.5
                touching = np.unique(labels[truth])
                mask = np.isin(labels, touching[touching > 0])
                scores.append(2.0 * float((mask & truth).sum()) / float(mask.sum() + truth.sum()))
    return scores


def memory_of(job: tuple[str, str, str]) -> tuple[float, float]:
    """Segment images from files; return the peak memory of this process in GiB, and the seconds.

    Parameters
    ----------
    job : tuple of str
        Backend, file of the CT, file of the SPECT or nothing.  To be called in a process of its own.
    """
    from DoseSegmentationLib import backends
    from DoseSegmentationLib.inputs import read_image

    from TheranosticDoseLib.benchmark import peak_memory_mib

    backend, *files = job
    images = [read_image(file) if file else None for file in files]
    start = time.perf_counter()
    backends.segment(backend, *images)
    return (peak_memory_mib() or float("nan")) / 1024.0, time.perf_counter() - start


def _memory_figures(patient: VirtualPatient, names: Sequence[str], huge: bool) -> list[Figure]:
    """Return the peak memory of each network on a patient, and of the organs on the largest CT of a scanner."""
    import SimpleITK as sitk

    from TheranosticDoseLib.validation.processes import in_new_process

    made = []
    with tempfile.TemporaryDirectory() as folder:
        ct, spect, large = (str(Path(folder, f"{name}.nrrd")) for name in ("ct", "spect", "large"))
        sitk.WriteImage(sitk.Cast(patient.ct[0], sitk.sitkInt16), ct)
        sitk.WriteImage(patient.spect[0], spect)
        jobs = {name: (name, ct, spect if name.startswith("lesions") else "") for name in names}
        if huge and "organs_ct" in names:
            sitk.WriteImage(enlarged(patient.ct[0], HUGE), large)
            jobs["organs_ct, " + " x ".join(map(str, HUGE)) + " voxels"] = ("organs_ct", large, "")
        for name, job in jobs.items():
            gib, seconds = in_new_process(memory_of, job)
            detail = f"{seconds:.0f} s, in a process of its own with reading of the images"
            made.append(at_most(f"{name}: peak memory", gib, MEMORY_GIB, "GiB", detail=detail))
    return made


def enlarged(ct: sitk.Image, size: tuple[int, int, int]) -> sitk.Image:
    """Return a CT with so many voxels over the same body."""
    import SimpleITK as sitk

    grid = sitk.Image(size, sitk.sitkInt16)
    step = [s * n / m for s, n, m in zip(ct.GetSpacing(), ct.GetSize(), size, strict=True)]
    grid.SetSpacing(step)
    grid.SetDirection(ct.GetDirection())
    first = [0.5 * m / s - 0.5 for m, s in zip(step, ct.GetSpacing(), strict=True)]
    grid.SetOrigin(ct.TransformContinuousIndexToPhysicalPoint(first))
    return sitk.Resample(ct, grid, sitk.Transform(), sitk.sitkLinear, -1000.0, sitk.sitkInt16)


def figures(patients: Sequence[VirtualPatient], huge: bool = False) -> list[Figure]:
    """Return the figures of the networks that are shipped; one that is not shipped is a missed figure.

    Parameters
    ----------
    patients : sequence of VirtualPatient
    huge : bool
        Also the memory that the largest CT of a scanner takes (some minutes).
    """
    from DoseSegmentationLib import backends

    listed = backends.backends()
    names = ("organs_ct", "lesions_spect_ct")
    ready = [name for name in names if listed[name]["available"]]
    reasons = "; ".join(f"{name}: {listed[name]['reason']}" for name in names if name not in ready)
    result = [at_least("networks shipped with weights", len(ready), 2, detail=reasons)]
    if "organs_ct" in ready:
        result += _organ_figures([organ_case(patient) for patient in patients]) + _real_organ_figures()
    if "lesions_spect_ct" in ready:
        result += _lesion_figures([lesion_case(patient) for patient in patients]) + _real_lesion_figures()
    return result + _memory_figures(patients[0], ready, huge)


def _organ_figures(cases: Sequence[tuple[Mapping[str, Agreement], float]]) -> list[Figure]:
    from DoseSegmentationLib.evaluation import bootstrap

    made = [at_most("organ network: longest time", max(seconds for _, seconds in cases), 60.0, "s")]
    for name in dict.fromkeys(name for rows, _ in cases for name in rows):
        rows = [case[name] for case, _ in cases if name in case]
        mean, low, high = bootstrap([row.dice for row in rows])
        surface = bootstrap([row.surface_dice for row in rows])[0]
        detail = (
            f"95 % interval {low:.3f} to {high:.3f}, {len(rows)} patients; surface Dice at 3 mm {surface:.3f}"
        )
        made.append(
            at_least(f"organ network, {name}: Dice", mean, ORGAN_LIMIT, reference=TRUTH, detail=detail)
        )
    return made


def _lesion_figures(cases: Sequence[tuple[Mapping[str, Any], float]]) -> list[Figure]:
    numbers = lesion_numbers([row for row, _ in cases])
    detail = f"{numbers['found']} of {numbers['lesions']} lesions, {len(cases)} patients"
    interval = f"95 % interval {numbers['dice_low']:.3f} to {numbers['dice_high']:.3f}"
    return [
        at_most("lesion network: longest time", max(seconds for _, seconds in cases), 15.0, "s"),
        at_least("lesion network: sensitivity, 5 mL or more", numbers["sensitivity_percent"], 90.0, "%",
                 reference=TRUTH, detail=detail),
        at_most("lesion network: false positives per patient", numbers["false_positives"], 1.0, reference=TRUTH),
        at_least("lesion network: Dice of those found", numbers["dice"], 0.80, reference=TRUTH, detail=interval),
    ]  # fmt: skip


def lesion_numbers(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return sensitivity, false positives per patient and Dice of the found ones, with an interval."""
    from DoseSegmentationLib.evaluation import bootstrap

    lesions, found = (sum(row[key] for row in rows) for key in ("lesions", "found"))
    mean, low, high = bootstrap([value for row in rows for value in row["dice"]])
    return {
        "lesions": lesions,
        "found": found,
        "sensitivity_percent": 100.0 * found / lesions if lesions else float("nan"),
        "false_positives": sum(row["false_positives"] for row in rows) / max(len(rows), 1),
        "dice": mean,
        "dice_low": low,
        "dice_high": high,
    }


def _real_organ_figures() -> list[Figure]:
    return [
        at_least(
            f"real CT, organ network, {name}: Dice",
            row.dice,
            _REAL_AIMS[name],
            reference=_REAL_CT,
            detail=f"surface Dice at 3 mm {row.surface_dice:.2f}, volume {row.volume_error_percent:+.0f} %",
        )  # fmt: skip
        for name, row in real_organs().items()
    ]


def _real_lesion_figures() -> list[Figure]:
    scores = real_lesions()
    if not scores:
        return []
    detail = "each: " + ", ".join(f"{score:.2f}" for score in scores)
    name = "real lesions, lesion network: mean Dice"
    return [reported(name, float(np.mean(scores)), reference=_REAL_LESIONS, detail=detail)]


def card_tables(task: str, patients: Sequence[VirtualPatient], backend: str) -> list[str]:
    """Return the lines (Markdown) of a model card that say how a network performs.

    Parameters
    ----------
    task : str
        ``organs`` or ``lesions``.
    patients : sequence of VirtualPatient
        Never trained on.
    backend : str
        For example ``network:FOLDER``.
    """
    from DoseSegmentationLib.evaluation import summary

    start = f"{len(patients)} virtual patients, in the whole pipeline, at the voxels of the CT; "
    lines = [start + "mean with the 95 % interval of a bootstrap.", ""]
    if task == "organs":
        cases = [organ_case(patient, backend)[0] for patient in patients]
        lines.append("| structure | figure | mean | interval | cases | missed |")
        lines.append("| --- | --- | ---: | --- | ---: | ---: |")
        lines += [
            f"| {r['structure']} | {r['metric']} | {r['mean']:.3f} | {r['low']:.3f} to {r['high']:.3f} "
            f"| {r['cases']} | {r['missed']} |"
            for r in summary(cases)
        ]
        real = real_organs(backend)
        lines += ["", f"Real: {_REAL_CT}.", "", "| structure | Dice | surface Dice | HD95, mm | volume error, % |",
                  "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
        lines += [
            f"| {name} | {r.dice:.3f} | {r.surface_dice:.3f} | {r.hd95_mm:.1f} | {r.volume_error_percent:+.1f} |"
            for name, r in real.items()
        ]
        return lines
    lines += ["| input | lesions of 5 mL or more | found, % | false positives per patient | Dice of those found |",
              "| --- | ---: | ---: | ---: | --- |"]  # fmt: skip
    for shown, with_ct in (("SPECT/CT", True), ("SPECT alone", False)):
        n = lesion_numbers([lesion_case(patient, backend, with_ct)[0] for patient in patients])
        lines.append(
            f"| {shown} | {n['lesions']:.0f} | {n['sensitivity_percent']:.1f} | {n['false_positives']:.2f} "
            f"| {n['dice']:.3f} ({n['dice_low']:.3f} to {n['dice_high']:.3f}) |"
        )
    scores = real_lesions(backend)
    each = ", ".join(f"{score:.2f}" for score in scores)
    return [*lines, "", f"Real: {_REAL_LESIONS}. Dice of each: {each or 'not measured'}."]
