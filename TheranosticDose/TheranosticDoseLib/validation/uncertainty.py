"""Figures of the uncertainty: do the stated intervals cover the truth, from calibration to dose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from TheranosticDoseLib.progress import Progress, part_of, report
from TheranosticDoseLib.study import Correction
from TheranosticDoseLib.time_activity import FitSettings, fit_curve, population
from TheranosticDoseLib.time_activity.population import area, shape
from TheranosticDoseLib.uncertainty import (
    UncertaintySettings,
    outline_relative_u,
    resample,
    sphere_response,
    uncertainty_budget,
)
from TheranosticDoseLib.uncertainty.budget import volume_exponent
from TheranosticDoseLib.validation.figure import Figure, at_most
from TheranosticDoseLib.validation.patient_coverage import patient_figures

HALF_LIFE_H = 159.53
TIMES = np.array([4.0, 24, 96, 168])
CAMERA, RECOVERY, ENGINE, COUNTS = 0.03, 0.04, 0.01, 0.03
REGIONS = (
    ("177Lu-DOTATATE/kidney", 150.0),
    ("177Lu-DOTATATE/liver", 1600.0),
    ("177Lu-DOTATATE/lesion", 20.0),
)


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Measure the coverage of the budget and its agreement with resampling.

    Every simulated patient has its own camera factor, activity meter, recovery, outline, density and engine
    error and four noisy scans; the budget is made as the workflow makes it, from what a site knows.

    Parameters
    ----------
    out : Path
        Not used.
    progress : callable, optional
    quick : bool
        Fewer simulated patients.
    """
    n = 60 if quick else 350
    rng = np.random.default_rng(0)
    pulls: dict[str, list[float]] = {"bayes": [], "average": []}
    for i, (key, volume) in enumerate(REGIONS):
        report(progress, 0.25 * i / len(REGIONS), f"Coverage of the budget: {key}")
        for method in pulls:
            pulls[method] += _pulls(key, volume, method, n, rng)
    found = []
    for method, values in pulls.items():
        pull = np.abs(values)
        detail = f"{len(values)} simulated regions (kidney, liver, lesion), four scans, all sources drawn"
        for name, factor, nominal, limit in (("68", 1.0, 68, 5), ("95", 1.96, 95, 3)):
            value = 100 * float(np.mean(pull < factor))
            passed = abs(value - nominal) <= limit
            label = f"Stated {name} % interval of the mean dose covers the truth, fit by {method}"
            found.append(
                Figure(label, value, "%", f"{nominal} +- {limit} %", passed, "simulated patients", detail)
            )
    report(progress, 0.28, "Budget against resampling")
    found.append(_against_resampling(100 if quick else 400))
    found += patient_figures(part_of(progress, 0.3, 1.0), quick)
    report(progress, 1.0, "Uncertainty: done")
    return found


def _fit_settings(method: str, key: str) -> FitSettings:
    # As a run does, which names the prior of the VOI's tissue whatever the method.
    return FitSettings(prior=key, **({"method": "bayes"} if method == "bayes" else {"model": method}))


def _pulls(key: str, volume_ml: float, method: str, n: int, rng: np.random.Generator) -> list[float]:
    """Return (stated - true)/uncertainty of the logarithm of the dose of ``n`` patients."""
    settings = UncertaintySettings()
    decay = float(np.log(2) / HALF_LIFE_H)
    latent = population(key).draw(n, rng)
    true_tia = 1000.0 * area(latent, decay)
    exact = 1000.0 * shape(latent, TIMES, decay)
    outline = outline_relative_u(volume_ml, settings.outline_voxel_mm, settings.outline_fwhm_mm)
    recovery = sphere_response(volume_ml, settings.spect_fwhm_mm).recovery
    exponent = volume_exponent(volume_ml, recovery, None, settings)
    out = []
    for truth, values in zip(true_tia, exact, strict=True):
        z = rng.standard_normal(6)
        # One error of the outline in counts, recovery and mass; one calibration for all times.
        common = settings.activity_meter * z[0] + CAMERA * z[1] + RECOVERY * z[2] + exponent * outline * z[3]
        measured = values * np.exp(common) * (1 + COUNTS * rng.standard_normal(len(TIMES)))
        fit = fit_curve(
            TIMES, measured, COUNTS * measured, half_life_h=HALF_LIFE_H, settings=_fit_settings(method, key)
        )
        log_dose = np.log(fit.tia_mbq_h) - outline * z[3] + settings.density * z[4] + ENGINE * z[5]
        budget = uncertainty_budget(
            volume_ml=volume_ml,
            tia_mbq_h=fit.tia_mbq_h,
            u_tia_mbq_h=fit.u_tia_mbq_h,
            corrections=(Correction("camera factor", 1.0, CAMERA),),
            recovery=(recovery, RECOVERY),
            engine_relative_u=ENGINE,
        )
        out.append(float((log_dose - np.log(truth)) / budget.relative_u_dose))
    return out


def _against_resampling(samples: int) -> Figure:
    """Return the difference of the analytic budget and the Monte Carlo resampling of one kidney."""
    latent = population(REGIONS[0][0]).mean[None]
    values = 1000.0 * shape(latent, TIMES, float(np.log(2) / HALF_LIFE_H))[0]
    settings = _fit_settings("bayes", REGIONS[0][0])
    fit = fit_curve(TIMES, values, COUNTS * values, half_life_h=HALF_LIFE_H, settings=settings)
    budget = uncertainty_budget(
        volume_ml=150.0,
        tia_mbq_h=fit.tia_mbq_h,
        u_tia_mbq_h=fit.u_tia_mbq_h,
        corrections=(Correction("camera factor", 1.0, CAMERA),),
        recovery=(0.85, RECOVERY),
        engine_relative_u=ENGINE,
    )
    drawn = resample(fit, budget, half_life_h=HALF_LIFE_H, settings=settings, samples=samples)
    difference = 100 * abs(drawn.relative_u_dose / budget.relative_u_dose - 1)
    analytic, resampled = 100 * budget.relative_u_dose, 100 * drawn.relative_u_dose
    detail = f"{analytic:.2f} % analytic, {resampled:.2f} % resampled ({samples} times)"
    return at_most(
        "Analytic uncertainty of the dose against Monte Carlo resampling", difference, 15, "%", detail=detail
    )
