"""Learned predictor of the TIA: gradient boosting trained on simulated kinetics of a population.

Trained for the times and noise at hand in about a second: ``ln(TIA / last activity)`` from the logarithms of the
ratios of the points, as three quantiles. What it learns is what ``bayes`` computes; it is an independent check
of it, not better. Needs scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.errors import EngineUnavailableError
from TheranosticDoseLib.time_activity.bayes import Posterior
from TheranosticDoseLib.time_activity.population import Population, area, shape

_SIMULATED = 3000


@dataclass(frozen=True)
class Learned:
    """Predicted TIA, with the curve of the population prior for the picture."""

    curve: Posterior
    value: float
    u_value: float
    weight: float = 1.0

    def predict(self, time_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity (T,) and its uncertainty (T,) of the posterior curve."""
        return self.curve.predict(time_h)

    def tia(self, start_h: float = 0.0) -> tuple[float, float]:
        """Return the integral from ``start_h`` to infinity and its uncertainty."""
        part = self.curve.tia(start_h)[0] / self.curve.tia()[0]
        return self.value * part, self.u_value * part


def learned_tia(
    time_h: np.ndarray,
    activity: np.ndarray,
    uncertainty: np.ndarray,
    decay_per_h: float,
    prior: Population,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return TIA and uncertainty (N,) of N curves (N, T) by gradient boosting.

    Parameters
    ----------
    time_h : ndarray (T,)
    activity, uncertainty : ndarray (N, T)
        The mean relative uncertainty of each time is that of the simulation.
    decay_per_h : float
    prior : Population
    seed : int

    Raises
    ------
    EngineUnavailableError
        Without scikit-learn.
    """
    try:
        from sklearn.ensemble import GradientBoostingRegressor
    except ImportError:
        msg = (
            "The method learned needs scikit-learn: pip install scikit-learn; the method bayes needs nothing."
        )
        raise EngineUnavailableError(msg) from None
    rng = np.random.default_rng(seed)
    latent = prior.draw(_SIMULATED, rng)
    relative = np.mean(uncertainty / np.maximum(activity, 1e-300), axis=0)
    exact = shape(latent, time_h, decay_per_h)
    noisy = exact * np.exp(relative * rng.standard_normal(exact.shape))
    target = np.log(area(latent, decay_per_h) / noisy[:, -1])
    found = []
    for quantile in (0.16, 0.5, 0.84):
        model = GradientBoostingRegressor(
            loss="quantile", alpha=quantile, n_estimators=120, max_depth=3, subsample=0.7, random_state=seed
        )
        found.append(model.fit(_features(noisy), target).predict(_features(activity)))
    low, middle, high = found
    tia = activity[:, -1] * np.exp(middle)
    return tia, tia * np.maximum(high - low, 1e-6) / 2


def _features(activity: np.ndarray) -> np.ndarray:
    """Return logarithms of ratios to the last point; a constant where there is no other."""
    logs = np.log(np.maximum(activity, 1e-300))
    return logs[:, :-1] - logs[:, -1:] if activity.shape[1] > 1 else np.zeros((len(activity), 1))
