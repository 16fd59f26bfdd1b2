"""What a schedule of scans costs: simulated patients, every method, bias and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.time_activity.bayes import population_u, posterior
from TheranosticDoseLib.time_activity.curve import slowest_rate_per_h
from TheranosticDoseLib.time_activity.fewer import SINGLE_TIME_METHODS, method_rate
from TheranosticDoseLib.time_activity.models import MODEL
from TheranosticDoseLib.time_activity.population import Population, area, population, shape
from TheranosticDoseLib.time_activity.selection import model_weights
from TheranosticDoseLib.time_activity.settings import FitSettings
from TheranosticDoseLib.time_activity.solver import Prior, fit_batch

LEAST_PATIENTS = 20
METHODS = ("auto", "average", "bayes", "haenscheid", "madsen", "mean_half_life")


@dataclass(frozen=True)
class ScheduleResult:
    """Relative error of the TIA of one method for one schedule in simulated patients.

    Attributes
    ----------
    schedule_h : tuple of float
    method : str
    bias, sd : float
        Mean and standard deviation of the relative error.
    low, high : float
        95 % interval of the relative error.
    median_absolute : float
    over_10_percent : float
        Part of the patients whose error is above 10 %.
    coverage_68, coverage_95 : float
        Part whose truth lies within 1 and 1.96 stated uncertainties.
    patients : int
    """

    schedule_h: tuple[float, ...]
    method: str
    bias: float
    sd: float
    low: float
    high: float
    median_absolute: float
    over_10_percent: float
    coverage_68: float
    coverage_95: float
    patients: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {**self.__dict__, "schedule_h": list(self.schedule_h)}


def compare_schedules(
    schedules_h: Sequence[Sequence[float]],
    prior: str | Population,
    *,
    half_life_h: float,
    relative_noise: float = 0.05,
    methods: Sequence[str] = METHODS,
    patients: int = 1000,
    seed: int = 0,
    assumed_prior: str | Population | None = None,
    progress: Progress | None = None,
) -> list[ScheduleResult]:
    """Compare schedules of scans before a patient is scanned.

    Parameters
    ----------
    schedules_h : sequence of sequences of float
        Times of the scans, h after the administration.
    prior : str or Population
        Population that the patients are drawn from.
    half_life_h : float
    relative_noise : float
        Of each point (k=1): what varies from scan to scan (counts, outline, registration).
    methods : sequence of str
        From ``METHODS``.
    patients, seed : int
    assumed_prior : str or Population, optional
        Population that the methods believe in; default the true one. Another shows the cost of a wrong prior.
    progress : callable, optional

    Returns
    -------
    list of ScheduleResult
        ``auto`` and ``average`` are left out below three scans, where they are ``bayes``.
    """
    truth = population(prior) if isinstance(prior, str) else prior
    believed = truth if assumed_prior is None else assumed_prior
    believed = population(believed) if isinstance(believed, str) else believed
    unknown = set(methods) - {*METHODS, "learned"}
    if unknown:
        raise InputError(f"Unknown method {sorted(unknown)[0]!r}; known: {', '.join(METHODS)}, learned.")
    if not 0 < relative_noise < 1:
        raise InputError(f"relative_noise is {relative_noise}; give a fraction between 0 and 1.")
    if patients < LEAST_PATIENTS:
        raise InputError(f"patients is {patients}; intervals need at least {LEAST_PATIENTS}.")
    decay = float(np.log(2) / half_life_h)
    rng = np.random.default_rng(seed)
    latent = truth.draw(patients, rng)
    true_tia = area(latent, decay)
    out = []
    for i, schedule in enumerate(schedules_h):
        time = np.asarray(schedule, float)
        rising = time.ndim == 1 and len(time) > 0 and np.all(np.diff(time, prepend=0.0) > 0)
        if not rising or not np.all(np.isfinite(time)):
            raise InputError(f"A schedule is a list of increasing hours above 0, not {list(schedule)}.")
        exact = shape(latent, time, decay)
        measured = np.maximum(exact * (1 + relative_noise * rng.standard_normal(exact.shape)), 1e-3 * exact)
        for j, method in enumerate(methods):
            report(progress, (i + j / len(methods)) / len(schedules_h), f"Schedule {schedule}: {method}")
            if len(time) < 3 and method in ("auto", "average"):
                continue  # they are bayes then
            tia, u_tia = estimate(method, time, measured, relative_noise, half_life_h, believed)
            out.append(_summary(tuple(time.tolist()), method, tia, u_tia, true_tia))
    report(progress, 1.0, "Schedules: done")
    return out


def _summary(schedule, method, tia, u_tia, truth) -> ScheduleResult:
    error = tia / truth - 1
    pull = np.abs(tia - truth) / u_tia
    low, high = np.quantile(error, [0.025, 0.975])
    return ScheduleResult(
        schedule,
        method,
        float(error.mean()),
        float(error.std()),
        float(low),
        float(high),
        float(np.median(np.abs(error))),
        float(np.mean(np.abs(error) > 0.1)),
        float(np.mean(pull < 1)),
        float(np.mean(pull < 1.96)),
        len(truth),
    )


def expected_error(
    time_h: Sequence[float],
    method: str,
    prior: str,
    *,
    half_life_h: float,
    relative_noise: float,
    patients: int = 200,
) -> dict[str, Any]:
    """Return what a schedule costs one method in simulated patients of a population.

    Parameters
    ----------
    time_h : sequence of float (T,)
    method : str
        Of ``METHODS``, ``learned``, or the name of a model that was asked for.
    prior : str
        Key of the population that the patients are drawn from, and that the method believes in.
    half_life_h : float
    relative_noise : float
        Of each point (k=1), what varies from scan to scan.
    patients : int

    Returns
    -------
    dict
        ``bias``, ``low``, ``high`` (95 % of the patients), ``median_absolute`` and ``over_10_percent`` of the
        relative error of the TIA; ``population``, ``source``, ``method``, ``relative_noise``, ``patients``.
    """
    believed, decay, time = population(prior), float(np.log(2) / half_life_h), np.asarray(time_h, float)
    rng = np.random.default_rng(0)
    latent = believed.draw(patients, rng)
    exact = shape(latent, time, decay)
    measured = np.maximum(exact * (1 + relative_noise * rng.standard_normal(exact.shape)), 1e-3 * exact)
    if method in (*SINGLE_TIME_METHODS, "bayes", "learned"):
        tia = estimate(method, time, measured, relative_noise, half_life_h, believed)[0]
    else:
        chosen = {"model": method} if method in ("auto", "average") else {"candidates": (method,)}
        settings = FitSettings(**chosen)
        tia = fit_many(time, measured, relative_noise * measured, half_life_h, settings)[0]
    error = tia / area(latent, decay) - 1
    low, high = np.quantile(error, [0.025, 0.975])
    return {
        "bias": float(error.mean()),
        "low": float(low),
        "high": float(high),
        "median_absolute": float(np.median(np.abs(error))),
        "over_10_percent": float(np.mean(np.abs(error) > 0.1)),
        "population": believed.key,
        "source": believed.source,
        "method": method,
        "relative_noise": float(relative_noise),
        "patients": patients,
    }


def estimate(
    method: str,
    time_h: np.ndarray,
    activity: np.ndarray,
    relative_u: float,
    half_life_h: float,
    prior: Population,
) -> tuple[np.ndarray, np.ndarray]:
    """Return TIA and uncertainty (N,) of N curves (N, T) by one method."""
    decay = float(np.log(2) / half_life_h)
    u = relative_u * activity
    if method == "bayes":
        results = [
            posterior(time_h, y, s, decay, prior, seed=i, draws=1500).tia()
            for i, (y, s) in enumerate(zip(activity, u, strict=True))
        ]
        return np.array(results)[:, 0], np.array(results)[:, 1]
    if method == "learned":
        from TheranosticDoseLib.time_activity.learned import learned_tia

        return learned_tia(time_h, activity, u, decay, prior)
    if method in SINGLE_TIME_METHODS:
        rate = method_rate(method, float(time_h[-1]), prior, decay)[0]
        factor = np.exp(rate * time_h[-1]) / rate
        reference = prior.draw(4000, np.random.default_rng(1))
        ratio = shape(reference, time_h[-1:], decay)[:, 0] * factor / area(reference, decay)
        tia = activity[:, -1] * factor
        return tia, tia * np.hypot(relative_u, np.sqrt(np.mean((ratio - 1) ** 2)))
    tia, u_tia = fit_many(time_h, activity, u, half_life_h, FitSettings(model=method))[:2]
    rows = zip(activity, u, tia, strict=True)
    wide = [population_u(time_h, y, s, decay, value, prior) for y, s, value in rows]
    return tia, np.array([own if u is None else u for own, u in zip(u_tia, wide, strict=True)])


def fit_many(
    time_h: np.ndarray,
    activity: np.ndarray,
    uncertainty: np.ndarray,
    half_life_h: float,
    settings: FitSettings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Fit N curves on the same times with selection or averaging, as ``fit_curve`` does for one.

    The uncertainty is that of the fit and between the models, without ``population_u``.

    Returns
    -------
    tia, u_tia : ndarray (N,)
    weights : ndarray (M, N)
    names : tuple of str (M,)
    """
    decay, n = float(np.log(2) / half_life_h), len(time_h)
    slowest = slowest_rate_per_h(half_life_h, settings)
    names = tuple(m for m in settings.candidates if m != "physical" and MODEL[m].n_parameters <= n)
    chi2, penalty, tia, variance = [], [], [], []
    for name in names:
        model = MODEL[name]
        prior = None
        if model.n_parameters > 2:
            mean, widths = model.weak_prior()
            prior = Prior(mean, np.diag(widths))
        fit = fit_batch(model, time_h, activity, uncertainty, decay, slowest, prior)
        value, gradient = model.integral(fit.theta, decay)
        chi2.append(fit.chi2)
        penalty.append(fit.penalty)
        tia.append(value)
        variance.append(np.einsum("np,npq,nq->n", gradient, fit.covariance, gradient))
    tia, variance, chi2 = np.array(tia), np.array(variance), np.array(chi2)
    k = np.array([MODEL[name].n_parameters for name in names])
    weights, _ = model_weights(chi2, np.array(penalty), k, n, settings.model == "average")
    used = weights if settings.model == "average" else np.eye(len(names))[np.argmax(weights, axis=0)].T
    mean = np.sum(used * tia, axis=0)
    spread = np.sqrt(np.sum(used * (variance + (tia - mean) ** 2), axis=0))
    return mean, spread, weights, names
