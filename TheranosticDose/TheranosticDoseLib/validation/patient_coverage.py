"""End to end: do the stated intervals of virtual patients, from DICOM to dose, cover the truth.

A part of the topic ``uncertainty``. What a site cannot know is drawn anew for each patient, within what the
budget states: resolution and the outline of every VOI. Camera factor, activity meter and density are one error in
every VOI of a patient, and results scale with them: the part of their distribution within the interval is exact,
where a draw each would make a handful of patients decide. Noise, blur, motion, kinetics and anatomy are those of
the virtual patient.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress, part_of
from TheranosticDoseLib.uncertainty import outline_relative_u
from TheranosticDoseLib.validation.figure import Figure, reported
from TheranosticDoseLib.validation.processes import in_processes

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.study import Voi
    from TheranosticDoseLib.workflow import Results, RunSettings

SEEDS = (101, 102, 103, 104, 105, 106, 107, 108)
ENGINE = "vsv_density"
DOSIMETRY = ("Kidney", "Liver", "Spleen", "Lesion")
SMALLEST_ML = 3.0
LEVELS = (("68", 1.0, 68, 5), ("95", 1.96, 95, 3))


def patient_figures(progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the coverage of the 68 and 95 % intervals of TIA and mean dose.

    The dose of the truth is by the same engine, so that what is covered is everything before it.
    """
    seeds = SEEDS[:1] if quick else SEEDS
    parts = in_processes(patient_records, seeds, progress, "Virtual patients, from DICOM to dose")
    records = [record for part in parts for record in part]
    chosen = [r for r in records if r["name"].startswith(DOSIMETRY) and r["volume_ml"] >= SMALLEST_ML]
    found = []
    for quantity, words in (("dose", "mean dose"), ("tia", "TIA")):
        pulls = np.array([r[quantity] for r in chosen])
        errors = 100 * np.array([r[f"error_{quantity}"] for r in chosen])
        detail = (
            f"{len(chosen)} VOIs (kidneys, liver, spleen, lesions from {SMALLEST_ML:g} mL) of {len(seeds)} patients; "
            f"pull {pulls.mean():+.2f} +- {pulls.std():.2f}, error {errors.mean():+.1f} +- {errors.std():.1f} % before "
            "camera factor, activity meter and density, which are integrated over"
        )
        for name, factor, nominal, limit in LEVELS:
            value = 100 * float(np.mean([covered(r, quantity, factor) for r in chosen]))
            label = f"End to end: stated {name} % interval of the {words} covers the truth, virtual patients"
            passed = None if quick else abs(value - nominal) <= limit
            found.append(
                Figure(
                    label, value, "%", f"{nominal} +- {limit} %", passed, f"truth of seeds {seeds}", detail
                )
            )
    every = 100 * float(np.mean([covered(r, "tia", 1.96) for r in records]))
    detail = f"{len(records)} VOIs, the smallest lesions, walls and hollow organs among them"
    found.append(
        reported("End to end: stated 95 % interval of the TIA, every VOI in view", every, "%", detail=detail)
    )
    return found


def covered(record: dict[str, Any], quantity: str, factor: float) -> float:
    """Return the probability (0 to 1) that ``factor`` stated uncertainties cover the truth of a record.

    Over the errors that all VOIs of a patient share; without them it is 0 or 1.
    """
    from scipy.stats import norm

    half, error = factor * record[f"u_{quantity}"], record[f"error_{quantity}"]
    shared = max(record[f"shared_u_{quantity}"], 1e-12)
    return float(norm.cdf((half - error) / shared) - norm.cdf((-half - error) / shared))


def patient_records(seed: int, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Return name, volume and pulls (``ln result/truth`` over its stated uncertainty) of each VOI of one patient."""
    from TheranosticDoseLib import workflow
    from TheranosticDoseLib.demo import write_virtual_patient
    from TheranosticDoseLib.dicom_io import load_study
    from TheranosticDoseLib.phantom import PhantomSettings

    rng = np.random.default_rng(seed)
    phantom = PhantomSettings(truth_engine=ENGINE, counts="CNTS")
    with tempfile.TemporaryDirectory() as folder:
        patient = write_virtual_patient(Path(folder), seed, part_of(progress, 0.0, 0.2), phantom)
        truth = json.loads((Path(folder) / "truth" / "truth.json").read_text(encoding="utf-8"))
        study = load_study(Path(folder) / "dicom")
    settings = _drawn_settings(phantom, float(np.mean(patient.resolution_mm)), rng)
    vois = tuple(_drawn_outline(voi, settings, rng) for voi in study.vois)
    study = dataclasses.replace(study, vois=vois)
    results = workflow.evaluate(study, settings, (ENGINE,), part_of(progress, 0.2, 1.0))
    return _pulls(truth, results)


def _drawn_settings(phantom: Any, fwhm_mm: float, rng: np.random.Generator) -> RunSettings:
    """Return what the site believes: its resolution within the stated uncertainty, the true camera factor."""
    from TheranosticDoseLib.quantification import QuantificationSettings
    from TheranosticDoseLib.workflow import RunSettings

    believed = RunSettings()
    width = np.exp(believed.quantification.fwhm_relative_uncertainty * rng.standard_normal())
    quantification = QuantificationSettings(
        camera_factor_cps_per_mbq=phantom.camera_factor_cps_per_mbq,
        recovery="gtm",
        fwhm_mm=fwhm_mm * float(width),
    )
    return dataclasses.replace(believed, quantification=quantification)


def _drawn_outline(voi: Voi, settings: RunSettings, rng: np.random.Generator) -> Voi:
    """Return the VOI with its surface moved in or out, so that its volume is off within its stated uncertainty."""
    weights = array_of(voi.weights)
    spacing = np.array(voi.weights.GetSpacing())
    box = bounding_box(weights, margin=4)
    part: sitk.Image = voi.weights[tuple(s for s in box[::-1])]
    inside = np.asarray(array_of(part), np.float64)
    volume_ml = float(inside.sum() * spacing.prod()) / 1000.0
    stated = settings.uncertainty
    share = outline_relative_u(volume_ml, stated.outline_voxel_mm, stated.outline_fwhm_mm)
    wanted = share * rng.standard_normal() * inside.sum()
    distance = _surface_distance_mm(part >= 0.5)
    ramp = float(spacing.max())

    def moved(by_mm: float) -> np.ndarray:
        step = np.clip(0.5 + (by_mm - distance) / ramp, 0, 1) - np.clip(0.5 - distance / ramp, 0, 1)
        return np.clip(inside + step, 0, 1)

    low, high = -float(distance.max()), float(distance.max())
    for _ in range(20):
        middle = 0.5 * (low + high)
        too_far = moved(middle).sum() - inside.sum() > wanted
        low, high = (low, middle) if too_far else (middle, high)
    array = np.array(weights)
    array[box] = moved(0.5 * (low + high))
    return dataclasses.replace(voi, weights=image_like(array, voi.weights))


def _surface_distance_mm(mask: sitk.Image) -> np.ndarray:
    """Return the distance from the surface between voxels, negative inside, mm ``(z, y, x)``."""
    import SimpleITK as sitk

    def outside(one: sitk.Image) -> np.ndarray:
        distance = sitk.SignedMaurerDistanceMap(one, squaredDistance=False, useImageSpacing=True)
        return np.array(array_of(distance), np.float64)

    # The filter measures from the centers of the voxels of the rim, inside or outside.
    return 0.5 * (outside(mask) - outside(mask == 0))


def _pulls(truth: dict[str, Any], results: Results) -> list[dict[str, Any]]:
    records = []
    for expected in truth["vois"]:
        result = next((r for r in results.vois if r.name == expected["name"]), None)
        budget = result.uncertainty.get(ENGINE) if result is not None else None
        if not budget or not expected["dose_gy"] or not expected.get("whole_in_view", True):
            continue
        dose = np.log(result.dvh[ENGINE].mean_gy / expected["dose_gy"])
        tia = np.log(result.fit.tia_mbq_h / expected["tia_mbq_h"])
        shared = [c for c in budget["contributions"] if c["correlated_group"] == "calibration"]
        density = [c["relative_u"] for c in budget["contributions"] if c["source"] == "density"]
        records.append(
            {
                "name": result.name,
                "volume_ml": expected["volume_ml"],
                "dose": float(dose / budget["relative_u_dose"]),
                "tia": float(tia / budget["relative_u_tia"]),
                "error_dose": float(dose),
                "error_tia": float(tia),
                "u_dose": budget["relative_u_dose"],
                "u_tia": budget["relative_u_tia"],
                "shared_u_dose": float(np.linalg.norm([c["relative_u"] for c in shared] + density)),
                "shared_u_tia": float(np.linalg.norm([c["relative_u_tia"] for c in shared])),
                "budget": budget,
            }
        )
    return records
