"""Bounded Levenberg-Marquardt for many small curve fits at once.

One batch holds many curves, many starting points of one curve, or both: numpy does
the small matrices of all of them together, so that one curve takes milliseconds and
a thousand simulated patients take about a second, without a compiler.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from TheranosticDoseLib.time_activity.models import Model

_STARTS_KEPT = 3


@dataclass(frozen=True)
class Prior:
    """Normal prior on the logarithmic entries of ``theta`` (mean (L,), covariance (L, L))."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class BatchFit:
    """Optimum of each curve: ``theta`` (N, P), ``covariance`` (N, P, P), ``chi2`` (N,), ``penalty`` (N,)."""

    theta: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    penalty: np.ndarray


def fit_batch(
    model: Model,
    time_h: np.ndarray,
    activity: np.ndarray,
    uncertainty: np.ndarray,
    decay_per_h: float,
    slowest_rate_per_h: float,
    prior: Prior | None = None,
) -> BatchFit:
    """Fit ``model`` to each row of ``activity`` (N, T) with weights 1/``uncertainty``^2 (N, T).

    Parameters
    ----------
    model : Model
    time_h : ndarray (T,)
    activity, uncertainty : ndarray (N, T)
        Same unit, uncertainty > 0.
    decay_per_h : float
        Physical decay constant.
    slowest_rate_per_h : float
        Lower bound of every effective rate.
    prior : Prior, optional
        On the logarithms of the rates; makes curves with fewer points than parameters solvable.

    Returns
    -------
    BatchFit
        The covariance is the inverse of the weighted normal matrix (not scaled by the residuals);
        for more parameters than points and no prior it is not finite.
    """
    scale = np.max(np.abs(activity), axis=1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    y, w = activity / scale, (scale / uncertainty) ** 2
    starts = _starts(model, time_h, y, w, decay_per_h, slowest_rate_per_h, prior)
    n, s, p = starts.shape
    y_all, w_all = np.repeat(y, s, axis=0), np.repeat(w, s, axis=0)
    theta, cost = _minimize(
        model, time_h, y_all, w_all, starts.reshape(n * s, p), decay_per_h, slowest_rate_per_h, prior
    )
    best = np.argmin(cost.reshape(n, s), axis=1)
    theta = theta.reshape(n, s, p)[np.arange(n), best]
    values, jacobian = model.evaluate(theta, time_h, decay_per_h)
    chi2 = np.sum(w * (y - values) ** 2, axis=1)
    normal = np.einsum("ntp,nt,ntq->npq", jacobian, w, jacobian)
    penalty = np.zeros(n)
    if prior is not None:
        inverse, delta = _prior_terms(model, theta, prior)
        normal[:, model.phases :, model.phases :] += inverse
        penalty = np.einsum("nl,lk,nk->n", delta, inverse, delta)
    covariance = _inverse(normal)
    factor = np.ones((n, p))
    factor[:, : model.phases] = scale
    return BatchFit(theta * factor, covariance * factor[:, :, None] * factor[:, None, :], chi2, penalty)


def _prior_terms(model: Model, theta: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    return np.linalg.inv(prior.covariance), theta[:, model.phases :] - prior.mean


def _inverse(normal: np.ndarray) -> np.ndarray:
    """Inverse after scaling to a unit diagonal; what cannot be inverted is infinite."""
    diagonal = np.sqrt(np.einsum("npp->np", normal))
    safe = np.where(diagonal > 0, diagonal, 1.0)
    scaled = normal / (safe[:, :, None] * safe[:, None, :])
    out = np.full_like(normal, np.inf)
    good = (diagonal > 0).all(1) & (np.linalg.cond(scaled) < 1e13)
    if good.any():
        out[good] = np.linalg.inv(scaled[good]) / (safe[good][:, :, None] * safe[good][:, None, :])
    return out


def _starts(model, time_h, y, w, decay_per_h, slowest, prior) -> np.ndarray:
    """Return the best few (N, S, P) of a grid over the rates, with amplitudes by linear least squares."""
    slow = np.log(2) / np.array([300.0, 100.0, 50.0, 20.0, 6.0])
    slow = np.log(np.unique(np.maximum(slow, slowest * 1.02)))
    steps = np.log(np.log(2) / np.array([0.4, 1.5, 6.0, 20.0]))
    axes = ([] if model.fixed_slow else [slow]) + [steps] * (model.phases - 1 + model.uptake)
    logs = np.array(list(product(*axes))).reshape(-1, len(axes)) if axes else np.zeros((1, 0))
    if prior is not None and len(axes) and np.max(np.diag(prior.covariance)) < 4:
        spread = np.sqrt(np.diag(prior.covariance))
        logs = prior.mean + np.array(list(product((-1.0, 0.0, 1.0), repeat=len(spread)))) * spread
    low, high = model.bounds(slowest)
    logs = np.clip(logs, low[model.phases :], high[model.phases :])
    unit = np.concatenate([np.ones((len(logs), model.phases)), logs], axis=1)
    design = model.evaluate(unit, time_h, decay_per_h)[1][:, :, : model.phases]
    normal = np.einsum("ltp,nt,ltq->lnpq", design, w, design, optimize=True)
    ridge = 1e-9 * np.trace(normal, axis1=2, axis2=3)[:, :, None, None] + 1e-300
    moments = np.einsum("ltp,nt->lnp", design, w * y)
    amplitude = np.linalg.solve(normal + ridge * np.eye(model.phases), moments[..., None])[..., 0]
    amplitude = np.maximum(amplitude, 1e-3)
    costs = np.sum(w * (y - np.einsum("lnp,ltp->lnt", amplitude, design)) ** 2, axis=2)
    keep = np.argsort(costs, axis=0)[:_STARTS_KEPT].T
    rows = np.arange(len(y))[:, None]
    return np.concatenate([amplitude[keep, rows], logs[keep]], axis=2)


def _minimize(model, time_h, y, w, theta, decay_per_h, slowest, prior, iterations=60):
    """Levenberg-Marquardt steps on all rows together; a row that has converged is left out."""
    low, high = model.bounds(slowest)
    inverse = None if prior is None else np.linalg.inv(prior.covariance)

    def cost_of(rows, values, candidate):
        cost = np.sum(w[rows] * (y[rows] - values) ** 2, axis=1)
        if inverse is not None:
            delta = candidate[:, model.phases :] - prior.mean
            cost = cost + np.einsum("nl,lk,nk->n", delta, inverse, delta)
        return cost

    theta = np.clip(theta, low, high)
    active = np.arange(len(theta))
    values, jacobian = model.evaluate(theta, time_h, decay_per_h)
    cost = cost_of(active, values, theta)
    damping = np.full(len(theta), 1e-2)
    for _ in range(iterations):
        gradient = np.einsum("ntp,nt->np", jacobian[active], w[active] * (y[active] - values[active]))
        normal = np.einsum("ntp,nt,ntq->npq", jacobian[active], w[active], jacobian[active])
        current = theta[active]
        if inverse is not None:
            gradient[:, model.phases :] -= (current[:, model.phases :] - prior.mean) @ inverse
            normal[:, model.phases :, model.phases :] += inverse
        # A parameter on its bound that would leave it stays there for this step.
        fixed = ((current <= low) & (gradient < 0)) | ((current >= high) & (gradient > 0))
        gradient[fixed] = 0.0
        normal = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, normal)
        diagonal = np.einsum("npp->np", normal)
        boost = damping[active][:, None] * diagonal + np.where(diagonal > 0, 1e-12 * diagonal, 1.0)
        step = np.linalg.solve(normal + boost[:, :, None] * np.eye(len(low)), gradient[..., None])[..., 0]
        limit = np.r_[np.full(model.phases, 1e6), np.full(len(low) - model.phases, 1.5)]
        candidate = np.clip(current + np.clip(step, -limit, limit), low, high)
        new_values, new_jacobian = model.evaluate(candidate, time_h, decay_per_h)
        new_cost = cost_of(active, new_values, candidate)
        better = new_cost <= cost[active]
        gain = cost[active] - new_cost
        done = (better & (gain <= 1e-10 * cost[active] + 1e-14)) | (~better & (damping[active] > 1e9))
        rows = active[better]
        theta[rows], values[rows], jacobian[rows] = (
            candidate[better],
            new_values[better],
            new_jacobian[better],
        )
        cost[rows] = new_cost[better]
        damping[active] = np.where(better, damping[active] * 0.2, damping[active] * 6.0)
        active = active[~done]
        if not len(active):
            break
    return theta, cost
