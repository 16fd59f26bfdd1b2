"""The truth of a virtual patient as a table, with the dose of a stated engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from TheranosticDoseLib.errors import EngineUnavailableError
from TheranosticDoseLib.geometry import array_of, voxel_volume_ml
from TheranosticDoseLib.phantom.patient import TruthVoi, VirtualPatient
from TheranosticDoseLib.progress import Progress

ENGINE_ORDER = ("mc", "vsv_density", "vsv", "led")
"""What stands in for an engine that is not installed: the next one; the table names the one that was used."""


def truth_dose(patient: VirtualPatient, progress: Progress | None = None) -> Any:
    """Return the ``DoseResult`` of the true TIA map on the truth grid, ``None`` for the engine ``none``."""
    wanted = patient.settings.truth_engine
    if wanted == "none":
        return None
    from TheranosticDoseLib.dose import Anatomy, absorbed_dose

    anatomy = Anatomy(density=patient.density_g_cm3)
    order = [wanted, *ENGINE_ORDER[ENGINE_ORDER.index(wanted) + 1 :]] if wanted in ENGINE_ORDER else [wanted]
    for engine in order:
        options: dict[str, Any] = {}
        if engine == "mc":
            # The processor, not a GPU: the same truth on every machine.
            options = {
                "histories": patient.settings.truth_histories,
                "seed": patient.seed,
                "device": "cpu",
            }
        try:
            return absorbed_dose(
                patient.tia_mbq_h_ml,
                anatomy,
                engine=engine,
                nuclide=patient.administration.nuclide,
                progress=progress,
                **options,
            )
        except EngineUnavailableError:
            if engine == order[-1]:
                raise
    return None


def truth_table(patient: VirtualPatient, dose: Any) -> dict[str, Any]:
    """Return the content of ``truth.json`` (without its schema name)."""
    given = patient.administration
    return {
        "note": "Research software, not a medical device.",
        "seed": patient.seed,
        "settings": patient.settings.to_dict(),
        "administration": {
            "nuclide": given.nuclide,
            "activity_mbq": given.activity_mbq,
            "datetime": given.datetime.isoformat(),
            "radiopharmaceutical": given.radiopharmaceutical,
        },
        "grid": "labels.nii.gz; posture of the reference time point; tia, density and dose are on it",
        "reference_time_h": patient.time_h[patient.settings.reference],
        "time_h": list(patient.time_h),
        "spect_resolution_fwhm_mm": list(patient.resolution_mm),
        "balance": _balance(patient),
        "vois": [_voi_row(patient, voi, dose) for voi in patient.vois],
        "labels": {str(label): name for label, name in patient.names.items()},
        "kinetics": {
            "table": patient.settings.radiopharmaceutical,
            "form": "activity_mbq(t) = sum of amplitude_mbq exp(-rate_per_h t), all voxels of the label together",
            "drawn": patient.kinetics.groups,
            "by_label": {str(label): k.to_dict() for label, k in patient.kinetics.by_label.items()},
            "outside_the_grid": patient.kinetics.outside.to_dict(),
        },
        "displacement": [
            {
                "time_h": time,
                "file": f"displacement_{time:g}h.nii.gz",
                "meaning": "a point x of the reference lies at x + displacement(x), LPS mm",
                **motion.parameters,
                "inversion_error_mm": motion.inversion_error_mm,
            }
            for time, motion in zip(patient.time_h, patient.motions, strict=True)
        ],
        "dose": None if dose is None else {"record": _plain(dose.record)},
    }


def _balance(patient: VirtualPatient) -> list[dict[str, float]]:
    """Return where the administered activity is at each time point, MBq."""
    rows = []
    for time, image in zip(patient.time_h, patient.spect, strict=True):
        on_grid = sum(k.activity_mbq(time) for k in patient.kinetics.by_label.values())
        measured = float(array_of(image).sum(dtype=np.float64)) * voxel_volume_ml(image) * 1e-6
        if patient.settings.counts == "CNTS":
            measured = float("nan")
        rows.append(
            {
                "time_h": time,
                "administered_decayed_mbq": patient.kinetics.administered.activity_mbq(time),
                "on_truth_grid_mbq": on_grid,
                "outside_mbq": patient.kinetics.outside.activity_mbq(time),
                "excreted_mbq": float(patient.kinetics.excreted_mbq(np.array(time))),
                "in_spect_mbq": None if np.isnan(measured) else measured,
            }
        )
    return rows


def _voi_row(patient: VirtualPatient, voi: TruthVoi, dose: Any) -> dict[str, Any]:
    """Return the truth of one VOI; the activity is the one of its tissue, wherever that has moved."""
    mask = patient.mask(voi)
    voxel_ml = voxel_volume_ml(patient.labels)
    kinetics = patient.voi_kinetics(voi)
    row: dict[str, Any] = {
        "name": voi.name,
        "kind": voi.kind,
        "volume_ml": float(mask.sum() * voxel_ml),
        "mass_g": float(array_of(patient.density_g_cm3)[mask].sum(dtype=np.float64) * voxel_ml),
        "activity_mbq": [kinetics.activity_mbq(time) for time in patient.time_h],
        "tia_mbq_h": kinetics.tia_mbq_h,
        "dose_gy": None,
        "whole_in_view": _whole_in_view(patient, mask),
    }
    if dose is not None:
        row["dose_gy"] = float(array_of(dose.dose)[mask].mean(dtype=np.float64))
    return row


def _whole_in_view(patient: VirtualPatient, mask: np.ndarray) -> bool:
    """Whether a VOI lies within the SPECT field of view on the reference."""
    import SimpleITK as sitk

    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    if slices.size == 0:
        return False
    grid: sitk.Image = patient.spect[patient.settings.reference]
    bottom = grid.GetOrigin()[2] - grid.GetSpacing()[2] / 2
    top = bottom + grid.GetSize()[2] * grid.GetSpacing()[2]
    half = patient.labels.GetSpacing()[2] / 2
    low = patient.labels.GetOrigin()[2] + patient.labels.GetSpacing()[2] * slices[0] - half
    high = patient.labels.GetOrigin()[2] + patient.labels.GetSpacing()[2] * slices[-1] + half
    return bool(low >= bottom - 1e-6 and high <= top + 1e-6)


def _plain(record: Any) -> Any:
    """Return a record as JSON can hold it."""
    if isinstance(record, dict):
        return {str(key): _plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [_plain(value) for value in record]
    if isinstance(record, (str, bool, int, float)) or record is None:
        return record
    return _plain(record.to_dict()) if hasattr(record, "to_dict") else str(record)
