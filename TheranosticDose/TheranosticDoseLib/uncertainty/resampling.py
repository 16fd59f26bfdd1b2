"""Monte Carlo check of a budget: every input drawn, the curve fitted again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.time_activity.curve import CurveFit, fit_curve
from TheranosticDoseLib.time_activity.settings import TRAPEZOIDS, FitSettings
from TheranosticDoseLib.uncertainty.budget import UncertaintyBudget


@dataclass(frozen=True)
class Resampled:
    """Distribution of TIA and mean dose, relative to their values.

    Attributes
    ----------
    relative_u_tia, relative_u_dose : float
        Standard deviations.
    interval_68, interval_95 : (float, float)
        Of the dose, relative to it.
    samples : int
    """

    relative_u_tia: float
    relative_u_dose: float
    interval_68: tuple[float, float]
    interval_95: tuple[float, float]
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {**self.__dict__, "interval_68": list(self.interval_68), "interval_95": list(self.interval_95)}


def resample(
    fit: CurveFit,
    budget: UncertaintyBudget,
    *,
    half_life_h: float,
    settings: FitSettings | None = None,
    samples: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> Resampled:
    """Draw the points within their uncertainty, fit again, and draw every other line of the budget.

    What all points share is drawn once per sample, as a log-normal factor; the curve fit line of the
    budget is replaced by the repeated fits.

    Parameters
    ----------
    fit : CurveFit
    budget : UncertaintyBudget
    half_life_h : float
    settings : FitSettings, optional
        Those of ``fit``.
    samples, seed : int
    progress : callable, optional
    """
    settings = FitSettings() if settings is None else settings
    rng = np.random.default_rng(seed)
    center = fit.predict(fit.time_h)[0]
    points = np.maximum(rng.normal(center, fit.u_activity_mbq, (samples, len(center))), 1e-6 * center.max())
    tia = np.empty(samples)
    if settings.method == "fit" and settings.model not in TRAPEZOIDS and len(center) > 2:
        from TheranosticDoseLib.time_activity.schedules import fit_many

        if settings.model in ("auto", "average"):
            candidates = settings.candidates
        else:
            candidates = (settings.model,)
        few = FitSettings(model=settings.model if len(candidates) > 1 else "auto", candidates=candidates)
        u = np.broadcast_to(fit.u_activity_mbq, points.shape)
        tia = fit_many(fit.time_h, points, u, half_life_h, few)[0]
    else:
        for i, row in enumerate(points):
            report(progress, i / samples, "Resampling of the uncertainty")
            tia[i] = fit_curve(
                fit.time_h, row, fit.u_activity_mbq, half_life_h=half_life_h, settings=settings
            ).tia_mbq_h
    log_tia, log_dose = np.log(tia / fit.tia_mbq_h), np.zeros(samples)
    for line in budget.contributions:
        if line.source.startswith("curve fit"):
            continue
        draw = rng.standard_normal(samples)
        log_tia = log_tia + draw * line.relative_u_tia
        log_dose += draw * (line.relative_u_dose - line.relative_u_tia)
    log_dose += log_tia
    ratio = np.exp(log_dose)
    low95, low68, high68, high95 = np.quantile(ratio, [0.025, 0.16, 0.84, 0.975])
    report(progress, 1.0, "Resampling of the uncertainty: done")
    return Resampled(
        float(np.std(np.exp(log_tia))),
        float(np.std(ratio)),
        (float(low68), float(high68)),
        (float(low95), float(high95)),
        samples,
    )
