"""Results as DICOM: dose, outlines, maps, registrations and a structured report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.geometry import array_of, image_like
from TheranosticDoseLib.progress import Progress

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dicom_io import ExportSettings, Measurement
    from TheranosticDoseLib.workflow.results import Results


UNKNOWN = 10.0
"""Relative uncertainty that stands for an unknown one."""


def export_results(
    results: Results,
    document: dict[str, Any],
    out: Path,
    settings: ExportSettings | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write the results of a run as DICOM, in the patient, study and frame of reference of the input.

    Parameters
    ----------
    results : Results
    document : dict
        Of :func:`results_document`; the structured report repeats its numbers.
    out : Path
        Folder.
    settings : ExportSettings, optional
    progress : callable, optional

    Returns
    -------
    dict
        Name of the result to its file.
    """
    from TheranosticDoseLib.dicom_io import export_dicom
    from TheranosticDoseLib.workflow.biology import maps_of

    registered = results.registered
    first = next(iter(results.doses))
    effective = {f"{name.upper()} {first}": image for name, image in maps_of(results).items()}
    errors = {name: r.uncertainty for name, r in results.doses.items() if r.uncertainty is not None}
    moving = zip(results.study.acquisitions, registered.transforms, strict=True)
    return export_dicom(
        results.study,
        out,
        reference=registered.reference,
        doses_gy={engine: result.dose for engine, result in results.doses.items()},
        errors_gy=errors,
        effective_gy=effective,
        maps={
            "tia": results.tia,
            "relative_uncertainty": _known(results.voxel_fit.relative_uncertainty),
            "activity_concentration": results.study.acquisition(registered.reference).spect,
        },
        vois=[result.voi for result in results.vois],
        measurements={voi["name"]: _measurements(voi, document) for voi in document["vois"]},
        transforms={a.label: transform for a, transform in moving if a.label != registered.reference},
        settings=settings,
        progress=progress,
    )


def _known(relative_uncertainty: sitk.Image) -> sitk.Image:
    """Return the map with finite numbers only, as DICOM wants them: ``UNKNOWN`` where a voxel has no activity."""
    import numpy as np

    values = np.nan_to_num(array_of(relative_uncertainty), nan=UNKNOWN, posinf=UNKNOWN)
    return image_like(np.minimum(values, UNKNOWN), relative_uncertainty)


def _measurements(voi: dict[str, Any], document: dict[str, Any]) -> list[Measurement]:
    """The numbers of one VOI that a structured report has a concept for."""
    from TheranosticDoseLib.dicom_io import Measurement

    found = [Measurement("volume_ml", voi["volume_ml"]), Measurement("mass_g", voi["mass_g"])]
    columns = zip(document["time_points"], voi["activity_mbq"], voi["u_activity_mbq"], strict=True)
    found += [
        Measurement("activity_mbq", value, u, point["label"])
        for point, value, u in columns
        if value is not None
    ]
    if voi["fit"]:
        tia, relative = voi["tia_mbq_h"], voi["tia_rel_u"]
        found.append(Measurement("tia_mbq_h", tia, relative * tia if relative else None, voi["fit"]["model"]))
    for engine, dose in voi["dose"].items():
        found.append(Measurement("mean_gy", dose["mean_gy"], dose["u_mean_gy"], engine))
        keys = {"min_gy": "min", "max_gy": "max", **{f"d{p}_gy": f"d{p}_gy" for p in (98, 95, 50, 2)}}
        found += [Measurement(quantity, dose[key], None, engine) for quantity, key in keys.items()]
    first = next(iter(voi["dose"]), "")
    models = {**voi["radiobiology"], **{key: voi[key] for key in ("bed_gy", "eqd2_gy")}}
    uncertainty = {"bed_gy": models.get("u_bed_gy")}
    return found + [
        Measurement(key, models[key], uncertainty.get(key), first)
        for key in ("bed_gy", "eqd2_gy", "eud_gy", "eubed_gy")
        if models.get(key) is not None
    ]
