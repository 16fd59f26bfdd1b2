"""What is said and done where a curve misses its points by more than their uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.time_activity.checks import Points
from TheranosticDoseLib.time_activity.curve import fit_models
from TheranosticDoseLib.time_activity.models import MODEL
from TheranosticDoseLib.time_activity.selection import MISFIT_P
from TheranosticDoseLib.time_activity.settings import FitSettings


def widened(fit, points, residuals, half_life_h, settings) -> tuple[float, list[Finding]]:
    """Widen the uncertainty where the residuals are larger than the points allow, and say which point."""
    from scipy.stats import chi2 as chi2_distribution

    freedom = len(residuals) - len(fit.covariance)
    chi2 = float(np.sum(residuals**2))
    # A bound (decay no slower than physical) can leave residuals without a degree of freedom.
    if chi2_distribution.sf(chi2, max(freedom, 1)) >= MISFIT_P or fit.u_tia_mbq_h == 0:
        return fit.u_tia_mbq_h, []
    factor = float(np.sqrt(chi2 / max(freedom, 1)))
    text = (
        f"The fit misses the points by more than their uncertainty (chi2 {chi2:.3g}, {max(freedom, 0)} degrees "
        f"of freedom); the uncertainty of the TIA was widened {factor:.2g} times."
    )
    outlier = _outlier(points, half_life_h, settings)
    if outlier is not None:
        text += f" The point at {outlier:g} h alone does not fit the others."
    remedy = "Check that point, the uncertainties given and the model."
    finding = Finding(
        "warning", "time_activity.misfit", text, outlier if outlier is not None else chi2, "", remedy
    )
    return fit.u_tia_mbq_h * factor, [finding]


def _outlier(points: Points, half_life_h: float, settings: FitSettings) -> float | None:
    """Return the time of the one point without which the rest fits well, if there is exactly such a one."""
    from scipy.stats import chi2 as chi2_distribution

    n = len(points.time_h)
    if n < 4:
        return None
    names = [m for m in settings.candidates if m != "physical" and MODEL[m].n_parameters <= n - 2]
    left_out = [
        replace(points, uncertainty=np.where(np.arange(n) == i, np.inf, points.uncertainty)) for i in range(n)
    ]
    probability = np.zeros((len(names), n))
    for row, name in enumerate(names):
        fits = fit_models(name, left_out, half_life_h, settings)
        chi2 = [fit.chi2 for fit in fits]
        probability[row] = chi2_distribution.sf(chi2, n - 1 - MODEL[name].n_parameters)
    found = probability.max(axis=0, initial=0.0)
    order = np.argsort(found)
    if found[order[-1]] > 0.1 and found[order[-2]] < MISFIT_P:
        return float(points.time_h[order[-1]])
    return None
