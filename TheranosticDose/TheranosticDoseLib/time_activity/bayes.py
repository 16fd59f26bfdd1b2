"""Mixed-effects estimate of a curve: the population is the prior, the points of this patient the rest.

Importance sampling over shapes of the population, the height integrated analytically with a prior flat
in its logarithm. A second round draws from the weighted first, so that precise points do not leave a
handful of draws. Works from one point up; with no information the population remains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.time_activity.population import Population, area, effective_half_life_h, shape

_DRAWS = 4000


@dataclass(frozen=True)
class Posterior:
    """Weighted shapes and heights of one curve; usable as a component of a ``CurveFit``."""

    latent: np.ndarray
    height: np.ndarray
    u_height: np.ndarray
    probability: np.ndarray
    decay_per_h: float
    weight: float = 1.0

    def _moments(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of ``height x values`` (n, ...)."""
        mean = np.tensordot(self.probability, self.height[:, None] * values, 1)
        square = (self.height**2 + self.u_height**2)[:, None] * values**2
        return mean, np.sqrt(np.maximum(np.tensordot(self.probability, square, 1) - mean**2, 0.0))

    def predict(self, time_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity (T,) and its uncertainty (T,)."""
        return self._moments(shape(self.latent, time_h, self.decay_per_h))

    def tia(self, start_h: float = 0.0) -> tuple[float, float]:
        """Return the integral from ``start_h`` to infinity (median) and its uncertainty.

        The posterior of a late single scan is skewed; its mean would lie far above most patients.
        """
        values = self.height * area(self.latent, self.decay_per_h, start_h)
        logs = np.log(np.maximum(values, 1e-300))
        order = np.argsort(logs)
        median = float(np.interp(0.5, np.cumsum(self.probability[order]), logs[order]))
        mean = float(self.probability @ logs)
        variance = self.probability @ ((logs - mean) ** 2 + (self.u_height / self.height) ** 2)
        return float(np.exp(median)), float(np.exp(median) * np.sqrt(variance))

    def samples(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return draws (n,) of the TIA."""
        rows = rng.choice(len(self.probability), n, p=self.probability)
        height = rng.normal(self.height[rows], self.u_height[rows])
        return np.maximum(height, 0) * area(self.latent[rows], self.decay_per_h)

    def effective_half_life_h(self) -> float:
        """Return the mean effective half-life between 24 and 168 h, at most the physical one."""
        rate = np.log(2) / effective_half_life_h(self.latent, self.decay_per_h)
        return float(self.probability @ (np.log(2) / np.maximum(rate, self.decay_per_h)))

    @property
    def effective_size(self) -> float:
        """Effective number of draws; small where the points contradict the population."""
        return float(1.0 / np.sum(self.probability**2))


def posterior(
    time_h: np.ndarray,
    activity: np.ndarray,
    uncertainty: np.ndarray,
    decay_per_h: float,
    prior: Population,
    seed: int = 0,
    draws: int = _DRAWS,
) -> Posterior:
    """Return the posterior of one curve.

    Parameters
    ----------
    time_h, activity, uncertainty : ndarray (T,)
        Uncertainty k=1, of what varies from point to point.
    decay_per_h : float
    prior : Population
    seed : int
        Same seed, same numbers.
    draws : int
    """
    rng = np.random.default_rng(seed)
    latent = prior.draw(draws, rng)
    scale = float(np.max(activity))
    w = (scale / uncertainty) ** 2
    y = activity / scale
    log_weight = _log_likelihood(latent, time_h, y, w, decay_per_h)[0]
    temperature = 1.0
    for round_ in range(3):
        # Widen first: a proposal from few draws would be too narrow.
        temperature = _temperature(log_weight) if round_ < 2 else 1.0
        probability = _normalized(log_weight * temperature)
        mean = probability @ latent
        delta = latent - mean
        spread = (probability[:, None] * delta).T @ delta * 1.5 + 1e-4 * prior.covariance
        chosen = rng.multivariate_normal(mean, spread, size=draws, method="cholesky")
        # A tenth from the prior keeps the tails.
        tail = rng.random(draws) < 0.1
        chosen[tail] = prior.draw(int(tail.sum()), rng)
        proposal = np.logaddexp(
            np.log(0.9) + _log_normal(chosen, mean, spread),
            np.log(0.1) + _log_normal(chosen, prior.mean, prior.covariance),
        )
        latent = chosen
        likelihood, height, variance = _log_likelihood(latent, time_h, y, w, decay_per_h)
        log_weight = likelihood + _log_normal(latent, prior.mean, prior.covariance) - proposal
    return Posterior(latent, height * scale, np.sqrt(variance) * scale, _normalized(log_weight), decay_per_h)


def population_u(
    time_h: np.ndarray,
    activity: np.ndarray,
    uncertainty: np.ndarray,
    decay_per_h: float,
    tia: float,
    prior: Population | None = None,
) -> float | None:
    """Return the root mean square error (k=1) of a TIA, however it was estimated, over a population.

    A sum of exponentials chosen for few points is too simple for what is between and before them, and its
    covariance does not know it. Under the posterior of the shapes, with median ``m`` and spread ``s``, the error
    is ``sqrt(s^2 + (tia - m)^2)``. The population is that of the tissue; the wide one where there is none or the
    points lie outside it. ``None`` where they lie outside the wide one too (an uptake of days).
    """
    from TheranosticDoseLib.time_activity.population import population

    wide = population("generic")
    for candidate in (prior, wide) if prior is not None and prior.key != wide.key else (wide,):
        found = posterior(time_h, activity, uncertainty, decay_per_h, candidate, draws=1500)
        if found.effective_size >= 50:
            middle, spread = found.tia()
            return float(np.hypot(spread, middle - tia))
    return None


def _log_likelihood(latent, time_h, y, w, decay_per_h):
    """Return the logarithm of the likelihood with the height integrated, the height and its variance (n,)."""
    values = shape(latent, time_h, decay_per_h)
    variance = 1.0 / np.maximum(values**2 @ w, 1e-300)
    height = np.maximum(variance * (values @ (w * y)), 1e-12)
    chi2 = (y - height[:, None] * values) ** 2 @ w
    return -0.5 * chi2 + 0.5 * np.log(variance) - np.log(height), height, variance


def _log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    delta = x - mean
    quadratic = np.sum((delta @ np.linalg.inv(covariance)) * delta, axis=1)
    return -0.5 * quadratic - 0.5 * np.linalg.slogdet(covariance)[1]


def _normalized(log_weight: np.ndarray) -> np.ndarray:
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


def _temperature(log_weight: np.ndarray, wanted: float = 200.0) -> float:
    """Return the largest power (at most 1) of the weights that leaves ``wanted`` effective draws."""
    temperature = 1.0
    for _ in range(30):
        if 1.0 / np.sum(_normalized(log_weight * temperature) ** 2) >= wanted:
            break
        temperature *= 0.7
    return temperature
