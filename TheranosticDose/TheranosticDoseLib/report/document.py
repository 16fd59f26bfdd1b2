"""``results.json``: the contract with tools outside the program."""

from __future__ import annotations

import functools
import json
import math
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib import DISCLAIMER, __version__
from TheranosticDoseLib.audit.integrity import sealed
from TheranosticDoseLib.audit.trail import audit_trail
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.files import plain
from TheranosticDoseLib.geometry import total_activity_mbq
from TheranosticDoseLib.time_activity import MODELS, TRAPEZOIDS
from TheranosticDoseLib.time_activity.schedules import expected_error

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow.results import Results, VoiResult

SCHEMA = "theranostic-dose/results/1"


def results_document(results: Results) -> dict[str, Any]:
    """Return ``results.json`` as a dictionary of JSON's own types.

    Parameters
    ----------
    results : Results
        Of :func:`TheranosticDoseLib.workflow.run`.

    Returns
    -------
    dict
        To the schema ``Resources/Schemas/results.schema.json``.
    """
    study, registered = results.study, results.registered
    administration = study.administration
    document = {
        "schema": SCHEMA,
        "software": {
            "name": "theranostic-dosimetry",
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": _package_versions(),
        },
        "disclaimer": DISCLAIMER,
        "patient_id": study.patient_id,
        "inputs": study.inputs,
        "administration": {
            "nuclide": administration.nuclide,
            "activity_mbq": administration.activity_mbq,
            "datetime": administration.datetime,
            "radiopharmaceutical": administration.radiopharmaceutical,
            "residual_mbq": administration.residual_mbq,
            "relative_uncertainty": administration.relative_uncertainty,
        },
        "reference": registered.reference,
        "time_points": [
            {
                "label": acquisition.label,
                "time_h": acquisition.time_h,
                "datetime": acquisition.datetime,
                "duration_s": acquisition.duration_s,
                "total_activity_mbq": total_activity_mbq(acquisition.spect),
                "corrections": [vars(correction) for correction in acquisition.corrections],
            }
            for acquisition in study.acquisitions
        ],
        "registration": [_registration(quality) for quality in registered.quality],
        "vois": _vois(results),
        "engines": {name: _engine(dose.record) for name, dose in results.doses.items()},
        "findings": [finding.to_dict() for finding in results.findings],
        "timings_s": results.timings_s,
        "settings": {**results.settings.to_dict(), "engines": list(results.doses)},
        "request": results.request,
        "audit": audit_trail(results),
    }
    if results.comparison is not None:
        document["comparison"] = results.comparison.to_dict()
    return sealed(plain(document))


def validate_document(document: dict[str, Any]) -> None:
    """Raise :class:`InputError` with the place and the reason where a document is not to the schema."""
    import jsonschema
    from DoseSegmentationLib.resources import resource_path

    schema = json.loads(resource_path("Schemas", "results.schema.json").read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(document))
    if error is not None:
        raise InputError(f"results.json is not to its schema at {error.json_path}: {error.message[:200]}")


def _registration(quality: dict[str, Any]) -> dict[str, Any]:
    head = ("from", "to", "method")
    rest = {key: value for key, value in quality.items() if key not in head}
    return {**{key: quality[key] for key in head}, "quality": rest}


def _vois(results: Results) -> list[dict[str, Any]]:
    """Return the VOIs, each with what its schedule of scans is expected to cost."""
    from TheranosticDoseLib.nuclides import nuclide

    half_life_h = nuclide(results.study.administration.nuclide).half_life_h
    expected = functools.lru_cache(maxsize=None)(functools.partial(_expected_error, half_life_h))
    vois = []
    for result in results.vois:
        error, fit = None, result.fit
        if fit is not None and fit.tia_mbq_h > 0 and result.voi.kind != "body":
            chosen = results.settings.fit
            method = (
                chosen.model if fit.model in MODELS and chosen.model in ("auto", "average") else fit.model
            )
            noise = float(np.sqrt(np.mean((fit.u_activity_mbq / np.maximum(fit.activity_mbq, 1e-12)) ** 2)))
            prior = chosen.prior or result.prior or "generic"
            error = expected(tuple(np.round(fit.time_h, 1).tolist()), method, prior, round(noise, 2))
        vois.append({**_voi(result), "expected_error": error})
    return vois


def _expected_error(
    half_life_h: float, time_h: tuple[float, ...], method: str, prior: str, noise: float
) -> dict[str, Any] | None:
    if method in TRAPEZOIDS:
        return None
    noise = min(max(noise, 0.01), 0.5)
    return expected_error(time_h, method, prior, half_life_h=half_life_h, relative_noise=noise)


def _voi(result: VoiResult) -> dict[str, Any]:
    fit = result.fit
    tia = fit.tia_mbq_h if fit else 0.0
    relative = math.hypot(fit.u_tia_mbq_h / tia, result.common_rel_u) if fit and tia > 0 else None
    if result.uncertainty:
        relative = next(iter(result.uncertainty.values()))["relative_u_tia"]
    return {
        "name": result.name,
        "code": result.voi.code,
        "kind": result.voi.kind,
        "origin": result.voi.origin,
        "volume_ml": result.volume_ml,
        "mass_g": result.mass_g,
        "activity_mbq": result.activity_mbq,
        "u_activity_mbq": result.u_activity_mbq,
        "recovery": result.recovery,
        "fit": fit.to_dict() if fit else None,
        "tia_mbq_h": tia,
        "tia_rel_u": relative,
        "dose": {engine: _dose(result, engine) for engine in result.dvh},
        "bed_gy": result.bed_gy,
        "eqd2_gy": result.eqd2_gy,
        "radiobiology": result.radiobiology,
        "uncertainty": result.uncertainty,
    }


def _dose(result: VoiResult, engine: str) -> dict[str, Any]:
    """The DVH summary; ``u_mean_gy`` is the whole budget where there is one, else the statistics alone."""
    dvh = result.dvh[engine]
    budget = result.uncertainty.get(engine, {})
    values = {"u_mean_gy": None, **dvh.to_dict(result.levels_gy)}
    if dvh.u_mean_gy is not None:
        values["u_mean_statistical_gy"] = dvh.u_mean_gy
    if budget:
        values["u_mean_gy"] = budget["relative_u_dose"] * dvh.mean_gy
    return values


def _engine(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a run, with the four entries of the contract always there."""
    rest = {key: value for key, value in record.items() if key not in ("findings",)}
    return {
        **rest,
        "seconds": float(record["seconds"]),
        "histories": record.get("histories"),
        "device": str(record.get("device", "cpu")),
        "version": str(record["version"]),
    }


def _package_versions() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in ("numpy", "scipy", "SimpleITK", "pydicom", "highdicom", "numba", "torch", "monai"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
