"""Sums of exponentials as models of activity over time.

``A(t) = sum_i A_i exp(-r_i t)``, and with an uptake phase ``- (sum_i A_i) exp(-r_u t)``, so that
``A(0) = 0``.  Parameters ``theta``: the amplitudes ``A_i >= 0`` (slowest phase first), the logarithm
of the slowest rate, then the logarithms of the steps from each rate to the next faster one (the
uptake rate is the fastest).  The rates are thereby ordered, and one lower bound on the first keeps
every phase at least as fast as physical decay.  The family holds the functions of NUKFIT
(Kletting et al. 2013, doi:10.1118/1.4820367).

All functions work on a batch: ``theta`` is (N, P), times are (T,) or (N, T).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FASTEST_RATE_PER_H = float(np.log(2) / 0.05)
"""A phase with a half-life under 3 min is not seen by any SPECT schedule."""
SLOWEST_HALF_LIFE_H = 1.0e5
"""Bound on the effective half-life where slower-than-physical decay is allowed."""
_SLOWEST_UPTAKE_PER_H = float(np.log(2) / 48.0)
FAST_PHASE = {
    "slow": (float(np.log(np.log(2) / 50.0)), 10.0),
    "clearance": (float(np.log(np.log(2) / 10.0)), 1.5),
    "uptake": (float(np.log(np.log(2) / 1.5)), 1.2),
}
"""Mean and width of weak normal priors on the logarithm of a rate step, per h.

They leave what the points can tell (a width of 1.2 is a factor of 3.3 in half-life, twice as far at
95 %) and keep a phase that no point sees, such as an uptake before the first scan, from taking any
value between minutes and days. ``slow`` is no prior at all."""


@dataclass(frozen=True)
class Model:
    """A sum of ``phases`` exponentials, with or without uptake.

    ``fixed_slow`` fixes the slowest rate to the physical decay (activity that stays).
    """

    name: str
    phases: int
    uptake: bool = False
    fixed_slow: bool = False

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return 2 * self.phases - self.fixed_slow + self.uptake

    def names(self) -> tuple[str, ...]:
        """Names of the entries of ``theta``."""
        amplitudes = [f"amplitude_{i + 1}" for i in range(self.phases)]
        slow = [] if self.fixed_slow else ["log_rate_1"]
        steps = [f"log_step_{i + 2}" for i in range(self.phases - 1)]
        return tuple(amplitudes + slow + steps + (["log_step_uptake"] if self.uptake else []))

    def weak_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance (L,) of the logarithmic entries of ``theta``, see ``FAST_PHASE``."""
        kinds = ([] if self.fixed_slow else ["slow"]) + ["clearance"] * (self.phases - 1)
        kinds += ["uptake"] if self.uptake else []
        pairs = np.array([FAST_PHASE[kind] for kind in kinds]).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1] ** 2

    def terms(self, theta: np.ndarray, decay_per_h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return coefficients (N, R), rates (N, R) per h and steps (N, R), ``rates = cumsum(steps)``."""
        amplitudes = theta[:, : self.phases]
        logs = theta[:, self.phases :]
        slow = np.full((len(theta), 1), decay_per_h) if self.fixed_slow else np.exp(logs[:, :1])
        steps = np.concatenate([slow, np.exp(logs[:, 0 if self.fixed_slow else 1 :])], axis=1)
        if self.uptake:
            amplitudes = np.concatenate([amplitudes, -amplitudes.sum(1, keepdims=True)], axis=1)
        return amplitudes, np.cumsum(steps, axis=1), steps

    def _gradient(self, d_coefficient: np.ndarray, d_rate: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Chain rule from coefficients and rates (..., R) to ``theta`` (..., P)."""
        d_amplitude = d_coefficient[..., : self.phases]
        if self.uptake:
            d_amplitude = d_amplitude - d_coefficient[..., -1:]
        # A step moves its own rate and all faster ones.
        d_step = np.cumsum(d_rate[..., ::-1], axis=-1)[..., ::-1] * steps
        return np.concatenate([d_amplitude, d_step[..., 1 if self.fixed_slow else 0 :]], axis=-1)

    def evaluate(
        self, theta: np.ndarray, time_h: np.ndarray, decay_per_h: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity (N, T) and its derivative by ``theta`` (N, T, P)."""
        coefficients, rates, steps = self.terms(theta, decay_per_h)
        time = np.broadcast_to(time_h, (len(theta), np.shape(time_h)[-1]))
        decays = np.exp(-rates[:, None, :] * time[:, :, None])
        values = np.einsum("nr,ntr->nt", coefficients, decays)
        d_rate = -time[:, :, None] * decays * coefficients[:, None, :]
        return values, self._gradient(decays, d_rate, steps[:, None, :])

    def integral(
        self, theta: np.ndarray, decay_per_h: float, start_h: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the integral from ``start_h`` to infinity (N,) and its derivative by ``theta`` (N, P)."""
        coefficients, rates, steps = self.terms(theta, decay_per_h)
        tail = np.exp(-rates * start_h)
        d_coefficient = tail / rates
        d_rate = -coefficients * tail * (1 / rates**2 + start_h / rates)
        value = np.sum(coefficients * d_coefficient, axis=1)
        return value, self._gradient(d_coefficient, d_rate, steps)

    def bounds(self, slowest_rate_per_h: float) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of ``theta`` (P,)."""
        n_logs = self.n_parameters - self.phases
        low = np.full(n_logs, np.log(1e-3 * slowest_rate_per_h))
        if not self.fixed_slow:
            low[0] = np.log(slowest_rate_per_h)
        if self.uptake:
            low[-1] = np.log(_SLOWEST_UPTAKE_PER_H)
        high = np.full(n_logs, np.log(FASTEST_RATE_PER_H))
        return np.r_[np.zeros(self.phases), low], np.r_[np.full(self.phases, np.inf), high]


MODEL = {
    model.name: model
    for model in (
        Model("physical", 1, fixed_slow=True),
        Model("mono", 1),
        Model("mono_uptake", 1, uptake=True),
        Model("bi_physical", 2, fixed_slow=True),
        Model("bi", 2),
        Model("bi_uptake", 2, uptake=True),
        Model("tri", 3),
        Model("tri_uptake", 3, uptake=True),
    )
}
