"""Reduced compartment model: blood exchanging with organs and the rest, fitted to the organ curves.

``dB/dt = -(k_ex + sum k_in) B + sum k_out O``, ``dO/dt = k_in B - k_out O``, all with physical decay.
Linear, so it holds where receptors are not saturated; solved by the eigenvectors of its matrix. What the
measured curves cannot tell is held by log-normal priors, and said: identifiability of a parameter is
``1 - posterior variance / prior variance``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding

REST = "rest"
_PRIOR = {"k_in": (np.log(0.01), 1.5), "k_out": (np.log(np.log(2) / 60.0), 0.8), "k_ex": (np.log(0.25), 0.5)}
_PRIOR_REST = {"k_in": (np.log(0.4), 0.5), "k_out": (np.log(0.25), 0.7)}
_IDENTIFIED = 0.5


@dataclass(frozen=True)
class ReducedFit:
    """Fitted compartment model of a patient.

    Attributes
    ----------
    organs : tuple of str
        Measured organs, then those of the prior alone, then ``rest``.
    log_rates : ndarray (P,)
        ``ln k_ex``, then ``ln k_in`` and ``ln k_out`` per organ, 1/h.
    covariance : ndarray (P, P)
    identifiability : dict
        Parameter to 0 (the prior alone) ... 1 (the curves alone).
    decay_per_h : float
    findings : tuple of Finding
    """

    organs: tuple[str, ...]
    log_rates: np.ndarray
    covariance: np.ndarray
    identifiability: dict[str, float]
    decay_per_h: float
    findings: tuple[Finding, ...]

    def predict(self, organ: str, time_h: Any, activity_mbq: float) -> tuple[np.ndarray, np.ndarray]:
        """Return activity and uncertainty (k=1), MBq (T,), of an organ for an administered activity."""
        time = np.atleast_1d(np.asarray(time_h, float))
        index = self._index(organ)
        return self._with_u(lambda p: activity_mbq * _activities(p, time, self.decay_per_h)[index])

    def tia_mbq_h(self, organ: str, activity_mbq: float) -> tuple[float, float]:
        """Return TIA and uncertainty of an organ for an administered activity, for example the next cycle's."""
        index = self._index(organ)
        value, u = self._with_u(lambda p: activity_mbq * _areas(p, self.decay_per_h)[index : index + 1])
        return float(value[0]), float(u[0])

    def _index(self, organ: str) -> int:
        if organ not in self.organs:
            raise InputError(f"The model has no organ {organ!r}; it has {', '.join(self.organs)}.")
        return 1 + self.organs.index(organ)

    def _with_u(self, function) -> tuple[np.ndarray, np.ndarray]:
        value = function(self.log_rates)
        jacobian = np.array(
            [
                (function(self.log_rates + step) - function(self.log_rates - step)) / 2e-4
                for step in np.diag(np.full(len(self.log_rates), 1e-4))
            ]
        )
        return value, np.sqrt(np.einsum("pt,pq,qt->t", jacobian, self.covariance, jacobian))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {
            "organs": list(self.organs),
            "rates_per_h": dict(
                zip(parameter_names(self.organs), np.exp(self.log_rates).tolist(), strict=True)
            ),
            "identifiability": self.identifiability,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def parameter_names(organs: tuple[str, ...]) -> list[str]:
    """Return the names of the rates in their order."""
    return ["k_ex", *(f"{kind}[{organ}]" for organ in organs for kind in ("k_in", "k_out"))]


def _matrix(log_rates: np.ndarray, decay_per_h: float) -> np.ndarray:
    rates = np.exp(log_rates)
    k_in, k_out = rates[1::2], rates[2::2]
    matrix = np.diag(np.r_[-(rates[0] + k_in.sum()), -k_out] - decay_per_h)
    matrix[0, 1:], matrix[1:, 0] = k_out, k_in
    return matrix


def _activities(log_rates: np.ndarray, time_h: np.ndarray, decay_per_h: float) -> np.ndarray:
    """Return the fraction of the administered activity (1 + organs, T); blood first."""
    matrix = _matrix(log_rates, decay_per_h)
    # Scaled by sqrt(k_in/k_out) the matrix is symmetric: real eigenvalues, stable for equal rates.
    scale = np.r_[1.0, np.exp(0.5 * (log_rates[1::2] - log_rates[2::2]))]
    values, vectors = np.linalg.eigh(matrix / scale[:, None] * scale[None, :])
    return scale[:, None] * (vectors * vectors[0] @ np.exp(values[:, None] * time_h))


def _areas(log_rates: np.ndarray, decay_per_h: float) -> np.ndarray:
    """Return the TIA per administered activity (1 + organs,), h."""
    start = np.zeros(len(log_rates) // 2 + 1)
    start[0] = 1.0
    return -np.linalg.solve(_matrix(log_rates, decay_per_h), start)


def fit_reduced_model(
    curves: Mapping[str, Mapping[str, Any]],
    administered_mbq: float,
    *,
    half_life_h: float,
    other_organs: tuple[str, ...] = (),
    relative_u: float = 0.05,
) -> ReducedFit:
    """Fit the model to the organ curves of a patient.

    Parameters
    ----------
    curves : mapping of organ to ``{time_h, activity_mbq, u_activity_mbq (optional)}``
    administered_mbq : float
    half_life_h : float
    other_organs : tuple of str
        Organs without a measurement; they follow the prior, and that is said.
    relative_u : float
        Of points without uncertainty.

    Returns
    -------
    ReducedFit
    """
    from scipy.optimize import least_squares

    if not curves or not administered_mbq > 0:
        raise InputError(
            "The compartment model needs organ curves and a positive administered activity (MBq)."
        )
    organs = (*curves, *other_organs, REST)
    data = []
    for i, (organ, curve) in enumerate(curves.items()):
        time, y = (
            np.asarray(curve["time_h"], float),
            np.asarray(curve["activity_mbq"], float) / administered_mbq,
        )
        u = curve.get("u_activity_mbq")
        u = relative_u * y if u is None else np.asarray(u, float) / administered_mbq
        if time.shape != y.shape or not np.all(np.isfinite(y)) or np.any(u <= 0) or np.any(y > 1):
            msg = f"The curve of {organ} is not usable: equal lengths, positive values, no more than administered."
            raise InputError(msg)
        data.append((i + 1, time, y, u))
    prior = np.array(
        [_PRIOR["k_ex"]]
        + [(_PRIOR_REST if o == REST else _PRIOR)[k] for o in organs for k in ("k_in", "k_out")]
    )
    decay = float(np.log(2) / half_life_h)

    def residuals(p: np.ndarray) -> np.ndarray:
        parts = [(p - prior[:, 0]) / prior[:, 1]]
        parts += [(_activities(p, t, decay)[i] - y) / u for i, t, y, u in data]
        return np.concatenate(parts)

    found = least_squares(residuals, prior[:, 0], method="trf", x_scale=prior[:, 1], max_nfev=400)
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    told = np.clip(1.0 - np.diag(covariance) / prior[:, 1] ** 2, 0.0, 1.0)
    identifiability = {n: float(v) for n, v in zip(parameter_names(organs), told, strict=True)}
    return ReducedFit(
        organs, found.x, covariance, identifiability, decay, _findings(identifiability, other_organs)
    )


def _findings(identifiability: dict[str, float], other_organs: tuple[str, ...]) -> tuple[Finding, ...]:
    weak = [name for name, value in identifiability.items() if value < _IDENTIFIED]
    findings = []
    if weak:
        text = f"The curves do not identify {', '.join(weak)}; their values come mostly from the prior."
        findings.append(
            Finding("warning", "pbpk.identifiability", text, len(weak), "", "Add early or late scans.")
        )
    if other_organs:
        text = f"{', '.join(other_organs)}: no measurement; activity and uncertainty are those of the population."
        findings.append(Finding("assumption", "pbpk.organs", text, list(other_organs)))
    return tuple(findings)
