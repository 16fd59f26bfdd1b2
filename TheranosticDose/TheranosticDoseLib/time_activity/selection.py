"""Which of the fitted models count, and how much.

``AICc = chi2 + 2K + 2K(K+1)/(n-K-1)`` as in NUKFIT (Kletting et al. 2013, doi:10.1118/1.4820367),
weights ``exp(-AICc/2)`` (Burnham & Anderson 2002). Two things are added, because a clinical schedule
has three to six points. AICc is undefined for K >= n-1 and so large for K = n-2 that it takes a model
which the points contradict: models that fail the chi2 test (p < 0.05) are left out while another passes, and
when all fail, models with K = n-1, then K = n, are admitted by ``chi2 + 2K`` (exact for known variances).
Averaging starts at K = n-1, because its purpose is to carry the doubt between models.
"""

from __future__ import annotations

import numpy as np

MISFIT_P = 0.05


def model_weights(
    chi2: np.ndarray, penalty: np.ndarray, n_parameters: np.ndarray, n_points: int, average: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and scores (M, N) of M models for N curves.

    Parameters
    ----------
    chi2, penalty : ndarray (M, N)
        Weighted squares of the residuals, and of the priors.
    n_parameters : ndarray (M,)
    n_points : int
    average : bool
        Start with the models that averaging needs (K <= n-1).

    Returns
    -------
    weights : ndarray (M, N)
        Sum 1 over the models; 0 for a model that is not admitted.
    scores : ndarray (M, N)
        AICc, or ``chi2 + 2K`` where AICc is undefined or the level asks for it.
    """
    from scipy.stats import chi2 as distribution

    k = np.asarray(n_parameters)[:, None]
    freedom = n_points - k
    aic = chi2 + penalty + 2 * k
    aicc = np.where(freedom > 1, aic + 2 * k * (k + 1) / np.maximum(freedom - 1, 1), aic)
    # A model with as many parameters as points can miss them only by its bounds.
    fits = distribution.sf(chi2, np.maximum(freedom, 1)) >= MISFIT_P
    smallest = k == k.min()
    levels = [((freedom > 1) | smallest, aicc), ((freedom > 0) | smallest, aic), (freedom >= 0, aic)]
    weights, scores = np.zeros_like(aic), aicc.copy()
    open_rows = np.ones(aic.shape[1], bool)
    for admitted, score in levels[1:] if average else levels:
        pool = np.broadcast_to(admitted, aic.shape) & fits
        rows = open_rows & pool.any(axis=0)
        weights[:, rows], scores[:, rows] = _softmax(score, pool)[:, rows], score[:, rows]
        open_rows &= ~rows
    weights[:, open_rows] = _softmax(aic, np.broadcast_to(levels[-1][0], aic.shape))[:, open_rows]
    scores[:, open_rows] = aic[:, open_rows]
    return weights, scores


def _softmax(score: np.ndarray, pool: np.ndarray) -> np.ndarray:
    score = np.where(pool, score, np.inf)
    best = np.min(score, axis=0)
    best = np.where(np.isfinite(best), best, 0.0)
    weights = np.exp(-0.5 * (score - best))
    return weights / np.maximum(weights.sum(axis=0), 1e-300)
