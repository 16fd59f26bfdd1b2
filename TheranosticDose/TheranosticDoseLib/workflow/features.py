"""Dosiomics of a run: features of its dose, SPECT and CT per VOI."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress, part_of

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.workflow.results import Results


def with_features(results: Results, progress: Progress | None = None) -> Results:
    """Return the results with the features that their settings ask for; a VOI too small for them is a finding.

    The dose is that of the first engine. Its uncertainty, for the robustness, is the noise and misfit of the
    TIA map and the statistics of the engine.
    """
    from TheranosticDoseLib.dosiomics import feature_table

    registered, first = results.registered, next(iter(results.doses.values()))
    spect = registered.spect[registered.index(registered.reference)]
    images = {"dose": (first.dose, "Gy"), "spect": (spect, "Bq/mL")}
    if registered.ct is not None:
        images["ct"] = (registered.ct, "HU")
    uncertainties = {"dose": _dose_uncertainty(results)}
    vois = [result.voi for result in results.vois if result.voi.kind != "body"]
    rows: list[dict[str, Any]] = []
    findings = []
    for number, voi in enumerate(vois):
        part = part_of(progress, number / len(vois), (number + 1) / len(vois))
        case = results.study.patient_id
        try:
            rows += feature_table(case, images, [voi], results.settings.dosiomics, uncertainties, part)
        except InputError as error:
            message = f"{voi.name} has no dosiomics features: {error}"
            findings.append(Finding("missing", f"dosiomics.{voi.name}", message))
    return dataclasses.replace(results, features=tuple(rows), findings=(*results.findings, *findings))


def _dose_uncertainty(results: Results) -> sitk.Image:
    """Standard uncertainty of each voxel's dose, Gy, of what differs from voxel to voxel."""
    first = next(iter(results.doses.values()))
    dose = array_of(first.dose)
    relative = np.nan_to_num(array_of(results.voxel_fit.relative_uncertainty), nan=1.0, posinf=1.0)
    u = np.minimum(relative, 1.0) * dose
    if first.uncertainty is not None:
        u = np.hypot(u, array_of(first.uncertainty))
    return image_like(u, first.dose)
