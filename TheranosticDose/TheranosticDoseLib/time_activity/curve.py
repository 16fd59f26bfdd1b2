"""Fit, selection and averaging of models for one time-activity curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.time_activity.checks import Points, checked_points, late_findings
from TheranosticDoseLib.time_activity.models import MODEL, SLOWEST_HALF_LIFE_H, Model
from TheranosticDoseLib.time_activity.selection import MISFIT_P, model_weights
from TheranosticDoseLib.time_activity.settings import TRAPEZOIDS, FitSettings
from TheranosticDoseLib.time_activity.solver import Prior, fit_batch


@dataclass(frozen=True)
class Component:
    """One fitted model with its weight in the result."""

    model: Model
    theta: np.ndarray
    covariance: np.ndarray
    chi2: float
    penalty: float
    aicc: float
    weight: float
    decay_per_h: float

    def tia(self, start_h: float = 0.0) -> tuple[float, float]:
        """Return the integral from ``start_h`` to infinity and its uncertainty (k=1)."""
        value, gradient = self.model.integral(self.theta[None], self.decay_per_h, start_h)
        return float(value[0]), float(_spread(gradient, self.covariance)[0])

    def predict(self, time_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity (T,) and its uncertainty (T,)."""
        values, jacobian = self.model.evaluate(self.theta[None], time_h, self.decay_per_h)
        return values[0], _spread(jacobian[0], self.covariance)

    def slowest_half_life_h(self) -> float:
        """Return the effective half-life of the slowest phase that carries activity."""
        coefficients, rates, _ = self.model.terms(self.theta[None], self.decay_per_h)
        carries = coefficients[0] > 1e-6 * np.max(np.abs(coefficients[0]))
        return float(np.log(2) / np.min(rates[0][carries])) if carries.any() else float("nan")

    def parameters(self) -> dict[str, float]:
        """Return amplitudes (MBq) and effective half-lives (h) by name."""
        coefficients, rates, _ = self.model.terms(self.theta[None], self.decay_per_h)
        out = {}
        for i in range(self.model.phases):
            out[f"amplitude_{i + 1}_mbq"] = float(coefficients[0, i])
            out[f"effective_half_life_{i + 1}_h"] = float(np.log(2) / rates[0, i])
        if self.model.uptake:
            out["uptake_half_life_h"] = float(np.log(2) / rates[0, -1])
        return out


@dataclass(frozen=True)
class CurveFit:
    """A fitted time-activity curve and its integral.

    Attributes
    ----------
    model : str
        Selected (or best-weighted) model.
    parameters : dict
        Amplitudes in MBq and effective half-lives in h of that model.
    covariance : ndarray (P, P)
        Of ``amplitude_i`` (MBq) and the logarithms of the rate steps, see ``models``.
    tia_mbq_h, u_tia_mbq_h : float
        Time-integrated activity from 0 to infinity and its uncertainty (k=1): for ``auto`` and ``average`` the
        error over the population of shapes of the tissue (``population_u``), else the covariance of the fit.
    aicc : float
        Of ``model``.
    candidates : list of dict
        ``{model, aicc, weight, tia_mbq_h, u_tia_mbq_h}`` of each candidate, best first.
    effective_half_life_h : float
        Of the slowest phase.
    extrapolated_fraction : float
        Part of the TIA after the last point.
    residuals : ndarray (T,)
        (measured - fitted) / uncertainty, in the order the points were given.
    findings : tuple of Finding
    time_h, activity_mbq, u_activity_mbq : ndarray (T,)
        The points as used.
    """

    model: str
    parameters: dict[str, float]
    covariance: np.ndarray
    tia_mbq_h: float
    u_tia_mbq_h: float
    aicc: float
    candidates: list[dict[str, Any]]
    effective_half_life_h: float
    extrapolated_fraction: float
    residuals: np.ndarray
    findings: tuple[Finding, ...]
    time_h: np.ndarray
    activity_mbq: np.ndarray
    u_activity_mbq: np.ndarray
    components: tuple[Any, ...] = field(default=(), repr=False)

    def predict(self, time_h: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return activity and uncertainty (k=1), MBq, (T,) at ``time_h``; averaged over the components."""
        time = np.atleast_1d(np.asarray(time_h, float))
        parts = [component.predict(time) for component in self.components]
        weights = np.array([component.weight for component in self.components])
        values = np.array([part[0] for part in parts])
        mean = weights @ values
        variance = weights @ (np.array([part[1] for part in parts]) ** 2 + (values - mean) ** 2)
        return mean, np.sqrt(variance)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        covariance = np.where(np.isfinite(self.covariance), self.covariance, None)
        return {
            "model": self.model,
            "parameters": dict(self.parameters),
            "covariance": covariance.tolist(),
            "tia_mbq_h": self.tia_mbq_h,
            "u_tia_mbq_h": self.u_tia_mbq_h,
            "aicc": self.aicc if np.isfinite(self.aicc) else None,
            "candidates": [dict(candidate) for candidate in self.candidates],
            "effective_half_life_h": self.effective_half_life_h,
            "extrapolated_fraction": self.extrapolated_fraction,
            "residuals": self.residuals.tolist(),
            "time_h": self.time_h.tolist(),
            "activity_mbq": self.activity_mbq.tolist(),
            "u_activity_mbq": self.u_activity_mbq.tolist(),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def fit_curve(
    time_h: Any,
    activity_mbq: Any,
    u_activity_mbq: Any = None,
    *,
    half_life_h: float,
    settings: FitSettings | None = None,
) -> CurveFit:
    """Fit the activity of a region over time and integrate it to infinity.

    Parameters
    ----------
    time_h : array_like (T,)
        Hours after the administration, T >= 1.
    activity_mbq : array_like (T,)
        Activity at that time (not decay-corrected), MBq. Dose rates work as well (see ``dose_rate``).
    u_activity_mbq : array_like (T,), optional
        Uncertainty (k=1) of what varies from point to point, MBq. What all points share (camera
        factor) belongs to the uncertainty budget, not here.
    half_life_h : float
        Physical half-life of the nuclide, h.
    settings : FitSettings, optional

    Returns
    -------
    CurveFit

    Raises
    ------
    InputError, UnitsError
        For points that no number could be trusted from; the text names the point.

    References
    ----------
    Kletting et al. 2013, doi:10.1118/1.4820367 (models, AICc); Burnham & Anderson 2002 (averaging);
    Gear et al. 2018, doi:10.1007/s00259-018-4136-7 (covariance of the TIA).
    """
    settings = FitSettings() if settings is None else settings
    points = [(time_h, activity_mbq, u_activity_mbq)]
    return fit_curves(points, half_life_h=half_life_h, settings=[settings])[0]


def fit_curves(
    curves: Sequence[tuple[Any, Any, Any]], *, half_life_h: float, settings: Sequence[FitSettings]
) -> list[CurveFit]:
    """Fit many curves; those with the same times and models are fitted together, which is quicker.

    Parameters
    ----------
    curves : sequence of (time_h, activity_mbq, u_activity_mbq)
        See :func:`fit_curve`.
    half_life_h : float
    settings : sequence of FitSettings
        One per curve.

    Returns
    -------
    list of CurveFit
        The same numbers as one by one.

    Raises
    ------
    InputError, UnitsError
        For the first curve that no number could be trusted from.
    """
    rows = [
        (checked_points(*curve, half_life_h, own), own) for curve, own in zip(curves, settings, strict=True)
    ]
    alike: dict[Any, list[int]] = {}
    fits: list[CurveFit | None] = []
    for number, (points, own) in enumerate(rows):
        fits.append(_without_models(points, half_life_h, own))
        if fits[number] is None:
            # The prior plays no part in the fit of the models.
            alike.setdefault((tuple(points.time_h), replace(own, prior="")), []).append(number)
    for (_, shared), numbers in alike.items():
        components = _components([rows[number][0] for number in numbers], half_life_h, shared)
        for number, found in zip(numbers, components, strict=True):
            fits[number] = assemble(rows[number][0], found, [], half_life_h, rows[number][1])
    return fits


def _without_models(points: Points, half_life_h: float, settings: FitSettings) -> CurveFit | None:
    """Return the curve of points that no models are fitted to; ``None`` where they are."""
    if not np.any(points.activity > 0):
        return _nothing(points)
    few = len(points.time_h) < (2 if settings.allow_slower_than_physical else 3)
    if few and settings.method == "fit" and settings.model in ("auto", "average"):
        # One exponential through two points misses the uptake or a phase: 20 to 40 % for 4 and 24 h.
        settings = replace(settings, method="bayes")
    if settings.method != "fit":
        from TheranosticDoseLib.time_activity.fewer import fit_fewer

        return fit_fewer(points, half_life_h, settings)
    if settings.model in TRAPEZOIDS:
        from TheranosticDoseLib.time_activity.trapezoid import fit_trapezoid

        return fit_trapezoid(points, half_life_h, settings)
    return None


def slowest_rate_per_h(half_life_h: float, settings: FitSettings) -> float:
    """Return the lower bound of the effective rate."""
    slowest = SLOWEST_HALF_LIFE_H if settings.allow_slower_than_physical else half_life_h
    return float(np.log(2) / slowest)


def fit_models(
    name: str, curves: list[Points], half_life_h: float, settings: FitSettings, prior: Prior | None = None
) -> list[Component]:
    """Return one model fitted to each of several curves at the same times, with weight 1.

    ``aicc`` is infinite where undefined; a point of infinite uncertainty does not count.
    """
    model, decay = MODEL[name], float(np.log(2) / half_life_h)
    slowest = slowest_rate_per_h(half_life_h, settings)
    if prior is None and model.n_parameters > 2 - model.fixed_slow:
        mean, variance = model.weak_prior()
        prior = Prior(mean, np.diag(variance))
    activity, uncertainty = (
        np.array([getattr(p, kind) for p in curves]) for kind in ("activity", "uncertainty")
    )
    fit = fit_batch(model, curves[0].time_h, activity, uncertainty, decay, slowest, prior)
    k, found = model.n_parameters, []
    for row, n in enumerate(np.isfinite(uncertainty).sum(axis=1)):
        chi2, penalty = float(fit.chi2[row]), float(fit.penalty[row])
        aicc = chi2 + penalty + 2 * k + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf
        found.append(
            Component(model, fit.theta[row], fit.covariance[row], chi2, penalty, float(aicc), 1.0, decay)
        )
    return found


def _components(curves: list[Points], half_life_h: float, settings: FitSettings) -> list[list[Component]]:
    """Return the weighted components, best first, of each of several curves at the same times."""
    n = len(curves[0].time_h)
    if settings.model not in ("auto", "average"):
        if MODEL[settings.model].n_parameters > n:
            msg = (
                f"The model {settings.model} has {MODEL[settings.model].n_parameters} parameters and the curve "
                f"{n} points; choose a smaller model or method 'bayes'."
            )
            raise InputError(msg)
        return [[component] for component in fit_models(settings.model, curves, half_life_h, settings)]
    names = [name for name in settings.candidates if name != "physical"] or ["physical"]
    fits = [fit_models(m, curves, half_life_h, settings) for m in names if MODEL[m].n_parameters <= n]
    if not fits:
        smallest = min(names, key=lambda name: MODEL[name].n_parameters)
        msg = f"{n} points are too few for every candidate model (the smallest is {smallest})."
        raise InputError(msg)
    average = settings.model == "average"
    pools = [_weighted(row, n, average) for row in zip(*fits, strict=True)]
    missed = [row for row, pool in enumerate(pools) if n > 2 and _contradicted(pool[0], n)]
    if missed:
        # Nothing fits: usually a late decay slower than physical. The fast part may still be told apart.
        more = fit_models("bi_physical", [curves[row] for row in missed], half_life_h, settings)
        for row, component in zip(missed, more, strict=True):
            pools[row] = _weighted([*(fit[row] for fit in fits), component], n, average)
    return pools


def _contradicted(component: Component, n: int) -> bool:
    from scipy.stats import chi2 as distribution

    return bool(distribution.sf(component.chi2, max(n - component.model.n_parameters, 1)) < MISFIT_P)


def _weighted(fits: Sequence[Component], n: int, average: bool) -> list[Component]:
    """Return the admitted components with their weights, best first."""
    chi2, penalty = (np.array([[getattr(fit, name)] for fit in fits]) for name in ("chi2", "penalty"))
    k = np.array([fit.model.n_parameters for fit in fits])
    weights, scores = model_weights(chi2, penalty, k, n, average)
    rows = zip(fits, weights[:, 0], scores[:, 0], strict=True)
    pool = [replace(fit, weight=float(weight), aicc=float(score)) for fit, weight, score in rows]
    return sorted(pool, key=lambda fit: -fit.weight)


def assemble(points, components, findings, half_life_h, settings) -> CurveFit:
    """Return the result of weighted components (best first)."""
    best = components[0]
    used = components if settings.model == "average" else [best]
    used = [component for component in used if component.weight > 1e-4] or [best]
    weights = np.array([component.weight for component in used])
    weights = weights / weights.sum()
    used = tuple(replace(c, weight=float(w)) for c, w in zip(used, weights, strict=True))
    integrals = np.array([component.tia() for component in used])
    tails = np.array([component.tia(points.time_h[-1])[0] for component in used])
    tia = float(weights @ integrals[:, 0])
    variance = weights @ (integrals[:, 1] ** 2 + (integrals[:, 0] - tia) ** 2)
    u_tia = float(np.sqrt(variance))
    if settings.model in ("auto", "average"):
        from TheranosticDoseLib.time_activity.bayes import population_u
        from TheranosticDoseLib.time_activity.population import population

        tissue = population(settings.prior) if settings.prior else None
        wide = population_u(points.time_h, points.activity, points.uncertainty, best.decay_per_h, tia, tissue)
        u_tia = u_tia if wide is None else wide
    fit = CurveFit(
        model=best.model.name,
        parameters=best.parameters(),
        covariance=best.covariance,
        tia_mbq_h=tia,
        u_tia_mbq_h=u_tia,
        aicc=best.aicc,
        candidates=[_candidate(component) for component in components],
        effective_half_life_h=best.slowest_half_life_h(),
        extrapolated_fraction=float(weights @ tails / tia) if tia > 0 else 0.0,
        residuals=np.zeros(len(points.time_h)),
        findings=(),
        time_h=points.time_h,
        activity_mbq=points.activity,
        u_activity_mbq=points.uncertainty,
        components=used,
    )
    return finished(fit, points, findings, half_life_h, settings)


def finished(fit: CurveFit, points, findings, half_life_h, settings) -> CurveFit:
    """Return ``fit`` with residuals, the widened uncertainty of a misfit, and all findings."""
    residuals = (points.activity - fit.predict(points.time_h)[0]) / points.uncertainty
    findings = [*points.findings, *findings, *late_findings(points, half_life_h, settings)]
    from TheranosticDoseLib.time_activity.misfit import widened

    u_tia, misfit = widened(fit, points, residuals, half_life_h, settings)
    findings += misfit
    if fit.extrapolated_fraction > settings.max_extrapolated_fraction:
        findings.append(
            Finding(
                "warning",
                "time_activity.extrapolated_fraction",
                f"{100 * fit.extrapolated_fraction:.0f} % of the TIA lies after the last point.",
                fit.extrapolated_fraction,
                remedy="Add a later scan.",
            )
        )
    in_order = np.empty_like(residuals)
    in_order[points.order] = residuals
    return replace(fit, residuals=in_order, u_tia_mbq_h=u_tia, findings=tuple(findings))


def _candidate(component: Component) -> dict[str, Any]:
    tia, u_tia = component.tia()
    return {
        "model": component.model.name,
        "aicc": component.aicc,
        "weight": component.weight,
        "tia_mbq_h": tia,
        "u_tia_mbq_h": u_tia,
    }


def _spread(gradient: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the standard deviation (T,) of linear forms (T, P); infinite where the covariance is."""
    if not np.all(np.isfinite(covariance)):
        return np.full(len(gradient), np.inf)
    return np.sqrt(np.maximum(np.einsum("tp,pq,tq->t", gradient, covariance, gradient), 0.0))


def _nothing(points: Points) -> CurveFit:
    """All points are zero: the TIA is zero, and that is said."""
    finding = Finding(
        "warning",
        "time_activity.activity_mbq",
        "All points are zero; the TIA is zero.",
        0.0,
        remedy="Check that the outline lies on activity.",
    )
    n = len(points.time_h)
    zero = Component(MODEL["physical"], np.zeros(1), np.zeros((1, 1)), 0.0, 0.0, 0.0, 1.0, 1.0)
    return CurveFit(
        "physical", {}, np.zeros((1, 1)), 0.0, 0.0, 0.0, [], float("nan"), 0.0, np.zeros(n),
        (*points.findings, finding), points.time_h, points.activity, points.uncertainty, (zero,),
    )  # fmt: skip
