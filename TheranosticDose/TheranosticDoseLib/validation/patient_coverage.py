"""End to end: do the stated intervals of virtual patients, from DICOM to dose, cover the truth.

A part of the topic ``uncertainty``. What a site cannot know is drawn anew for each patient, within what the
budget states: camera factor, activity meter, resolution, the outline of every VOI, density. Noise, blur, motion,
kinetics and anatomy are those of the virtual patient.
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
    records = []
    for number, seed in enumerate(seeds):
        records += patient_records(seed, part_of(progress, number / len(seeds), (number + 1) / len(seeds)))
    chosen = [r for r in records if r["name"].startswith(DOSIMETRY) and r["volume_ml"] >= SMALLEST_ML]
    found = []
    for quantity, words in (("dose", "mean dose"), ("tia", "TIA")):
        pulls = np.array([r[quantity] for r in chosen])
        detail = (
            f"{len(chosen)} VOIs (kidneys, liver, spleen, lesions from {SMALLEST_ML:g} mL) of {len(seeds)} patients; "
            f"pull {pulls.mean():+.2f} +- {pulls.std():.2f}"
        )
        for name, factor, nominal, limit in LEVELS:
            value = 100 * float(np.mean(np.abs(pulls) < factor))
            label = f"End to end: stated {name} % interval of the {words} covers the truth, virtual patients"
            passed = None if quick else abs(value - nominal) <= limit
            found.append(
                Figure(
                    label, value, "%", f"{nominal} +- {limit} %", passed, f"truth of seeds {seeds}", detail
                )
            )
    every = 100 * float(np.mean([abs(r["tia"]) < 1.96 for r in records]))
    detail = f"{len(records)} VOIs, the smallest lesions, walls and hollow organs among them"
    found.append(
        reported("End to end: stated 95 % interval of the TIA, every VOI in view", every, "%", detail=detail)
    )
    return found


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
    settings, density = _drawn_settings(phantom, float(np.mean(patient.resolution_mm)), rng)
    vois = tuple(_drawn_outline(voi, settings, rng) for voi in study.vois)
    study = dataclasses.replace(study, vois=vois)
    results = workflow.evaluate(study, settings, (ENGINE,), part_of(progress, 0.2, 1.0))
    return _pulls(truth, results, density)


def _drawn_settings(phantom: Any, fwhm_mm: float, rng: np.random.Generator) -> tuple[RunSettings, float]:
    """Return what the site believes, each within its stated uncertainty, and the factor of the density."""
    from TheranosticDoseLib.quantification import QuantificationSettings
    from TheranosticDoseLib.workflow import RunSettings

    believed, z = RunSettings(), rng.standard_normal(4)
    stated = believed.quantification
    meter = believed.uncertainty.activity_meter
    factor = np.exp(stated.camera_factor_relative_uncertainty * z[0] + meter * z[1])
    width = np.exp(stated.fwhm_relative_uncertainty * z[2])
    quantification = QuantificationSettings(
        camera_factor_cps_per_mbq=phantom.camera_factor_cps_per_mbq * float(factor),
        recovery="gtm",
        fwhm_mm=fwhm_mm * float(width),
    )
    density = float(np.exp(believed.uncertainty.density * z[3]))
    return dataclasses.replace(believed, quantification=quantification), density


def _drawn_outline(voi: Voi, settings: RunSettings, rng: np.random.Generator) -> Voi:
    """Return the VOI with its surface moved in or out, so that its volume is off within its stated uncertainty."""
    import SimpleITK as sitk

    weights = array_of(voi.weights)
    spacing = np.array(voi.weights.GetSpacing())
    box = bounding_box(weights, margin=4)
    part: sitk.Image = voi.weights[tuple(s for s in box[::-1])]
    inside = np.asarray(array_of(part), np.float64)
    volume_ml = float(inside.sum() * spacing.prod()) / 1000.0
    stated = settings.uncertainty
    share = outline_relative_u(volume_ml, stated.outline_voxel_mm, stated.outline_fwhm_mm)
    wanted = share * rng.standard_normal() * inside.sum()
    distance = np.asarray(
        array_of(sitk.SignedMaurerDistanceMap(part >= 0.5, squaredDistance=False, useImageSpacing=True))
    )
    ramp = float(spacing.max())

    def moved(by_mm: float) -> np.ndarray:
        step = np.clip(0.5 + (by_mm - distance) / ramp, 0, 1) - np.clip(0.5 - distance / ramp, 0, 1)
        return np.clip(inside + step, 0, 1)

    radius = (3.0 * volume_ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    by_mm = wanted / inside.sum() * radius / 3.0
    for _ in range(3):  # the surface is larger than that of a sphere
        gained = moved(by_mm).sum() - inside.sum()
        by_mm *= wanted / gained if gained * wanted > 0 else 1.0
    array = np.array(weights)
    array[box] = moved(by_mm)
    return dataclasses.replace(voi, weights=image_like(array, voi.weights))


def _pulls(truth: dict[str, Any], results: Results, density: float) -> list[dict[str, Any]]:
    records = []
    for expected in truth["vois"]:
        result = next((r for r in results.vois if r.name == expected["name"]), None)
        budget = result.uncertainty.get(ENGINE) if result is not None else None
        if not budget or not expected["dose_gy"] or not expected.get("whole_in_view", True):
            continue
        # The same error of the density makes the mass too large and the dose too small.
        dose = np.log(result.dvh[ENGINE].mean_gy / density / expected["dose_gy"])
        tia = np.log(result.fit.tia_mbq_h / expected["tia_mbq_h"])
        records.append(
            {
                "name": result.name,
                "volume_ml": expected["volume_ml"],
                "dose": float(dose / budget["relative_u_dose"]),
                "tia": float(tia / budget["relative_u_tia"]),
                "error_dose": float(dose),
                "error_tia": float(tia),
                "budget": budget,
            }
        )
    return records
