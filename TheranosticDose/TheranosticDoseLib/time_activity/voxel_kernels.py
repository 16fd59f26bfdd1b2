"""Compiled loop of the voxel fits. Imported lazily: numba is heavy.

Models: 1 mono (A, q), 2 mono_uptake (A, q, s), 3 bi (A1, q, s, A2), with ``q`` the logarithm of the
slow effective rate and ``s`` that of the step to the fast rate. Each voxel is independent and sums
run in a fixed order, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}


@numba.njit(**_OPTIONS)
def _value(model, theta, t, jac):
    """Return the activity at ``t`` and fill its derivatives."""
    rate = math.exp(theta[1])
    e = math.exp(-rate * t)
    jac[0] = e
    jac[1] = -theta[0] * t * rate * e
    if model == 1:
        return theta[0] * e
    step = math.exp(theta[2])
    f = e * math.exp(-step * t)
    if model == 2:
        jac[0] = e - f
        jac[1] = -theta[0] * t * rate * (e - f)
        jac[2] = theta[0] * t * step * f
        return theta[0] * (e - f)
    jac[1] -= theta[3] * t * rate * f
    jac[2] = -theta[3] * t * step * f
    jac[3] = f
    return theta[0] * e + theta[3] * f


@numba.njit(**_OPTIONS)
def _integral(model, theta, jac):
    """Return the integral to infinity and fill its derivatives."""
    rate = math.exp(theta[1])
    jac[0] = 1.0 / rate
    jac[1] = -theta[0] / rate
    if model == 1:
        return theta[0] / rate
    step = math.exp(theta[2])
    fast = rate + step
    if model == 2:
        jac[0] = 1.0 / rate - 1.0 / fast
        jac[1] = theta[0] * rate * (1.0 / fast**2 - 1.0 / rate**2)
        jac[2] = theta[0] * step / fast**2
        return theta[0] * jac[0]
    jac[1] -= theta[3] * rate / fast**2
    jac[2] = -theta[3] * step / fast**2
    jac[3] = 1.0 / fast
    return theta[0] / rate + theta[3] / fast


@numba.njit(**_OPTIONS)
def _solve(k, m, b, x):
    """Solve the symmetric positive k x k system by elimination, destroying ``m``; False where singular."""
    for i in range(k):
        x[i] = b[i]
    for i in range(k):
        if not m[i, i] > 1e-300:
            return False
        for r in range(i + 1, k):
            factor = m[r, i] / m[i, i]
            for c in range(i, k):
                m[r, c] -= factor * m[i, c]
            x[r] -= factor * x[i]
    for i in range(k - 1, -1, -1):
        for c in range(i + 1, k):
            x[i] -= m[i, c] * x[c]
        x[i] /= m[i, i]
    return True


@numba.njit(**_OPTIONS)
def _normal(model, k, theta, times, y, w, prior, gradient, normal, jac):
    """Fill gradient and normal matrix; return chi2 + prior (``prior``: mean and weight per entry)."""
    cost = 0.0
    for i in range(k):
        gradient[i] = 0.0
        for j in range(k):
            normal[i, j] = 0.0
    for n in range(times.shape[0]):
        r = y[n] - _value(model, theta, times[n], jac)
        cost += w[n] * r * r
        for i in range(k):
            gradient[i] += w[n] * jac[i] * r
            for j in range(i + 1):
                normal[i, j] += w[n] * jac[i] * jac[j]
    for i in range(k):
        for j in range(i):
            normal[j, i] = normal[i, j]
        if prior[1, i] > 0.0:
            d = prior[0, i] - theta[i]
            cost += prior[1, i] * d * d
            gradient[i] += prior[1, i] * d
            normal[i, i] += prior[1, i]
    return cost


@numba.njit(**_OPTIONS)
def _fit(model, k, theta, times, y, w, prior, work, vectors):
    """Bounded Levenberg-Marquardt of one voxel, in place. Returns the cost."""
    gradient, held, trial, jac, g2 = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    low, high = vectors[6], vectors[7]
    normal, damped, n2 = work[0], work[1], work[2]
    cost = _normal(model, k, theta, times, y, w, prior, gradient, normal, jac)
    damping = 1e-3
    for _ in range(40):
        # A parameter on its bound that would leave it stays there for this step.
        for i in range(k):
            fixed = (theta[i] <= low[i] and gradient[i] < 0) or (theta[i] >= high[i] and gradient[i] > 0)
            held[i] = 0.0 if fixed else 1.0
        for i in range(k):
            for j in range(k):
                damped[i, j] = normal[i, j] * held[i] * held[j]
            damped[i, i] = normal[i, i] * (1.0 + damping) + 1e-30
            g2[i] = gradient[i] * held[i]
        if not _solve(k, damped, g2, trial):
            break
        moved = 0.0
        for i in range(k):
            change = min(max(trial[i], -1.0), 1.0) if i == 1 or i == 2 else trial[i]
            new = min(max(theta[i] + change, low[i]), high[i])
            moved = max(moved, abs(new - theta[i]) / (abs(theta[i]) + 1e-12))
            trial[i] = new
        new_cost = _normal(model, k, trial, times, y, w, prior, g2, n2, jac)
        if new_cost <= cost:
            gain = cost - new_cost
            for i in range(k):
                theta[i] = trial[i]
                gradient[i] = g2[i]
                for j in range(k):
                    normal[i, j] = n2[i, j]
            cost = new_cost
            damping *= 0.1
            if gain <= 1e-6 * cost + 1e-9 or moved < 1e-7:
                break
        else:
            damping *= 8.0
            if damping > 1e8:
                break
    return cost


@numba.njit(**_OPTIONS)
def _one_model(model, times, y, w, bounds, q_mean, q_weight, fast, out, work, vectors):
    """Fit one model to one voxel. ``out``: cost, TIA, variance of the TIA, slow rate."""
    k = model + 1
    theta, low, high, jac = vectors[5], vectors[6], vectors[7], vectors[3]
    prior = work[3]
    for i in range(4):
        prior[0, i], prior[1, i] = 0.0, 0.0
        low[i], high[i] = 0.0, 1e300
    low[1], high[1] = bounds[0], bounds[1]
    low[2], high[2] = bounds[0] - 7.0, bounds[1]
    prior[0, 1], prior[1, 1] = q_mean, q_weight
    prior[0, 2], prior[1, 2] = fast[0, model], fast[1, model]
    # The amplitudes start from their linear optimum at the starting rates.
    theta[0], theta[1], theta[2], theta[3] = 1.0, min(max(q_mean, bounds[0]), bounds[1]), fast[0, model], 0.3
    top, bottom = 0.0, 0.0
    for n in range(times.shape[0]):
        f = _value(model, theta, times[n], jac)
        top += w[n] * f * y[n]
        bottom += w[n] * f * f
    scale = max(top / max(bottom, 1e-300), 0.0)
    theta[0], theta[3] = scale, 0.3 * scale
    cost = _fit(model, k, theta, times, y, w, prior, work, vectors)
    gradient, step, normal = vectors[0], vectors[1], work[0]
    _normal(model, k, theta, times, y, w, prior, vectors[4], normal, jac)
    tia = _integral(model, theta, gradient)
    for i in range(k):
        normal[i, i] *= 1.0 + 1e-9
    variance = 0.0
    if _solve(k, normal, gradient, step):
        for i in range(k):
            variance += gradient[i] * step[i]
    out[0], out[1], out[2], out[3] = cost, tia, variance, math.exp(theta[1])


@numba.njit(**_OPTIONS)
def _averaged(times, y, w, bounds, q_mean, q_weight, fast, out, work, vectors):
    """Weight the models by ``exp(-(chi2 + 2K)/2)``, exact for known variances; mean, variance, flag."""
    n_models = 3 if times.shape[0] > 3 else (2 if times.shape[0] > 2 else 1)
    best = 1e300
    for m in range(n_models):
        if m > 0:
            _one_model(m + 1, times, y, w, bounds, q_mean, q_weight, fast, out[m], work, vectors)
        out[m, 0] += 2.0 * (m + 2)
        best = min(best, out[m, 0])
    total, mean, variance = 0.0, 0.0, 0.0
    for m in range(n_models):
        weight = math.exp(-0.5 * (out[m, 0] - best))
        total += weight
        mean += weight * out[m, 1]
    mean /= total
    for m in range(n_models):
        weight = math.exp(-0.5 * (out[m, 0] - best)) / total
        variance += weight * (out[m, 2] + (out[m, 1] - mean) ** 2)
    return mean, variance, 1 if best == out[0, 0] else 2


@numba.njit(**_OPTIONS)
def _shape_only(times, y, w, q_mean, q_weight):
    """Fit the amplitude alone, with the rate of the prior; TIA and its relative uncertainty."""
    top, bottom = 0.0, 0.0
    rate = math.exp(q_mean)
    for n in range(times.shape[0]):
        f = math.exp(-rate * times[n])
        top += w[n] * f * y[n]
        bottom += w[n] * f * f
    amplitude = max(top / max(bottom, 1e-300), 0.0)
    if amplitude <= 0.0:
        return 0.0, np.inf
    spread = 1.0 / q_weight if q_weight > 0 else 1.0
    return amplitude / rate, math.sqrt(1.0 / max(bottom, 1e-300) / amplitude**2 + spread)


@numba.njit(parallel=True, **_OPTIONS)
def fit_all(times, y, w, q_mean, q_weight, bounds, fast, average, noisy, tia, relative_u, rate, flag):
    """Fit all voxels: ``y``, ``w`` (N, T); results (N,).

    ``bounds``: logarithms of the slowest and fastest rate. ``fast`` (2, 4): mean and weight of ``s``
    per model. ``noisy`` (N,) true: the shape is that of the prior, the amplitude alone is fitted.
    ``flag``: 1 fitted, 2 another model than mono weighs most, 3 shape of the neighborhood, 4 empty.
    """
    n_voxels, chunk = y.shape[0], 2048
    for block in numba.prange((n_voxels + chunk - 1) // chunk):
        work, vectors, out = np.zeros((4, 4, 4)), np.zeros((8, 4)), np.zeros((3, 4))
        for v in range(block * chunk, min(n_voxels, (block + 1) * chunk)):
            q, qw = q_mean[v], q_weight[v]
            if noisy[v]:
                tia[v], relative_u[v] = _shape_only(times, y[v], w[v], q, qw)
                rate[v], flag[v] = math.exp(q), 3
            else:
                _one_model(1, times, y[v], w[v], bounds, q, qw, fast, out[0], work, vectors)
                mean, variance, flag[v] = out[0, 1], out[0, 2], 1
                rate[v] = out[0, 3]
                if average:
                    mean, variance, flag[v] = _averaged(
                        times, y[v], w[v], bounds, q, qw, fast, out, work, vectors
                    )
                tia[v] = mean
                relative_u[v] = math.sqrt(max(variance, 0.0)) / mean if mean > 0 else np.inf
            if not tia[v] > 0:
                flag[v] = 4
