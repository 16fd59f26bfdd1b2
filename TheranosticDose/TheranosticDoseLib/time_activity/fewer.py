"""Methods for one to three scans: Haenscheid, Madsen, mean half-life, population prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.time_activity.bayes import Posterior, posterior
from TheranosticDoseLib.time_activity.checks import Points
from TheranosticDoseLib.time_activity.curve import CurveFit, finished
from TheranosticDoseLib.time_activity.population import (
    Population,
    area,
    effective_half_life_h,
    population,
    shape,
    terms,
)
from TheranosticDoseLib.time_activity.settings import FitSettings

_NO_PRIOR_SPREAD = 0.15
_EARLIEST_H = 0.1
SINGLE_TIME_METHODS = ("haenscheid", "madsen", "mean_half_life")


@dataclass(frozen=True)
class OneExponential:
    """Mono-exponential through one point, with the uncertainty of the method."""

    time_h: float
    activity: float
    relative_u: float
    rate_per_h: float
    weight: float = 1.0

    def predict(self, time_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity (T,) and its uncertainty (T,)."""
        values = self.activity * np.exp(-self.rate_per_h * (time_h - self.time_h))
        return values, self.relative_u * values

    def tia(self, start_h: float = 0.0) -> tuple[float, float]:
        """Return the integral from ``start_h`` to infinity and its uncertainty."""
        value = float(self.predict(np.array([start_h]))[0][0] / self.rate_per_h)
        return value, self.relative_u * value


def fit_fewer(points: Points, half_life_h: float, settings: FitSettings) -> CurveFit:
    """Fit with ``settings.method``; see ``FitSettings``.

    The single-time-point methods use the last point. Their uncertainty is the root mean square error of
    the method in the population of ``settings.prior`` at that time, with that of the point.

    References
    ----------
    Haenscheid et al. 2018, doi:10.2967/jnumed.117.193706; Madsen et al. 2018, doi:10.1002/mp.12886.
    """
    decay = float(np.log(2) / half_life_h)
    prior = population(settings.prior) if settings.prior else None
    if settings.method in ("bayes", "learned"):
        return _fit_bayes(points, half_life_h, settings, prior)
    if prior is None and settings.method != "haenscheid":
        msg = f"The method {settings.method} needs a population; set prior, for example '177Lu-DOTATATE/kidney'."
        raise InputError(msg)
    time, value = float(points.time_h[-1]), float(points.activity[-1])
    if not (time > 0 and value > 0):
        msg = f"The method {settings.method} needs a positive activity after the administration."
        raise InputError(msg)
    findings = []
    if len(points.time_h) > 1:
        text = f"The method {settings.method} uses the last point ({time:g} h) alone."
        findings.append(Finding("info", "time_activity.method", text, time))
    rate, held = method_rate(settings.method, time, prior, decay)
    if held:
        text = (
            f"At {time:g} h {settings.method} implies a decay slower than physical; physical decay is used."
        )
        findings.append(
            Finding("warning", "time_activity.method", text, time, remedy="Scan earlier or use a prior.")
        )
    spread = _expected_error(settings.method, time, prior, decay, findings)
    relative = float(np.hypot(spread, points.uncertainty[-1] / value))
    component = OneExponential(time, value, relative, rate)
    parameters = {"amplitude_1_mbq": float(component.predict(np.zeros(1))[0][0])}
    parameters["effective_half_life_1_h"] = float(np.log(2) / rate)
    return _result(points, component, parameters, np.log(2) / rate, findings, half_life_h, settings)


def method_rate(
    method: str, time_h: float, prior: Population | None, decay_per_h: float
) -> tuple[float, bool]:
    """Return the rate, per h, that gives the TIA of the method by ``A exp(k t)/k``, and whether it was held.

    Haenscheid's ``TIA = A 2 t/ln 2`` is that of a half-life equal to the time of the scan. Madsen takes
    the mean effective rate of the population, the mean half-life method the mean half-life.
    """
    if method == "haenscheid":
        rate = float(np.log(2) / time_h)
    else:
        latent = prior.draw(4000, np.random.default_rng(0))
        half_lives = effective_half_life_h(latent, decay_per_h)
        rate = float(
            np.mean(np.log(2) / half_lives) if method == "madsen" else np.log(2) / np.mean(half_lives)
        )
    return max(rate, decay_per_h), rate < decay_per_h * (1 - 1e-9)


def _expected_error(method, time, prior, decay, findings) -> float:
    """Return the root mean square relative error of the method in the population; a finding says it."""
    if prior is None:
        text = f"No population was given; {100 * _NO_PRIOR_SPREAD:g} % is assumed as the error of the method."
        findings.append(
            Finding(
                "assumption",
                "time_activity.method",
                text,
                _NO_PRIOR_SPREAD,
                remedy="Set the prior of the tissue.",
            )
        )
        return _NO_PRIOR_SPREAD
    latent = prior.draw(4000, np.random.default_rng(1))
    rate = method_rate(method, time, prior, decay)[0]
    ratio = shape(latent, np.array([time]), decay)[:, 0] * np.exp(rate * time) / rate / area(latent, decay)
    bias, rms = float(np.mean(ratio) - 1), float(np.sqrt(np.mean((ratio - 1) ** 2)))
    off = float(np.mean(np.abs(ratio - 1) > 0.1))
    text = (
        f"In the population {prior.key} one scan at {time:g} h with {method} is off by {100 * bias:+.1f} % on average, "
        f"{100 * rms:.1f} % root mean square, and by more than 10 % in {100 * off:.0f} % of patients."
    )
    findings.append(Finding("info", "time_activity.expected_error", text, rms, prior.source))
    return rms


def _fit_bayes(points, half_life_h, settings, prior) -> CurveFit:
    prior = population("generic") if prior is None else prior
    decay = float(np.log(2) / half_life_h)
    if points.time_h[-1] < _EARLIEST_H:
        msg = (
            f"The last point lies {points.time_h[-1]:g} h after the administration, before any uptake is known; "
            "scan later, or choose the model 'physical'."
        )
        raise InputError(msg)
    component = posterior(points.time_h, points.activity, points.uncertainty, decay, prior)
    findings = [
        Finding(
            "assumption",
            "time_activity.prior",
            f"The kinetics of the population {prior.key} were used beside the {len(points.time_h)} point(s).",
            prior.key,
            prior.source,
            "Fit a prior of the own patients with 'theranostic-dose priors'.",
        )
    ]
    if component.effective_size < 50:
        text = "The points lie outside the population of the prior; the fitted curve follows them with few draws."
        findings.append(
            Finding("warning", "time_activity.prior", text, component.effective_size, "", "Use method fit.")
        )
    parameters = _parameters(component)
    half_life = component.effective_half_life_h()
    if settings.method == "learned":
        from TheranosticDoseLib.time_activity.learned import Learned, learned_tia

        if np.any(points.activity <= 0):
            raise InputError(
                "The method learned needs positive activities; use bayes or leave the zero point out."
            )
        tia, u_tia = learned_tia(points.time_h, points.activity[None], points.uncertainty[None], decay, prior)
        component = Learned(component, float(tia[0]), float(u_tia[0]))
    return _result(points, component, parameters, half_life, findings, half_life_h, settings)


def _parameters(component: Posterior) -> dict[str, float]:
    """Return the mean shape of the posterior as the exponentials of the other models: slow, fast, uptake."""
    mean = (component.probability @ component.latent)[None]
    (fast, slow, _), rates = (values[0] for values in terms(mean, component.decay_per_h))
    height = component.tia()[0] / area(mean, component.decay_per_h)[0]
    half_lives = np.log(2) / rates
    return {
        "amplitude_1_mbq": float(height * slow),
        "effective_half_life_1_h": float(half_lives[1]),
        "amplitude_2_mbq": float(height * fast),
        "effective_half_life_2_h": float(half_lives[0]),
        "uptake_half_life_h": float(half_lives[2]),
    }


def _result(points, component, parameters, effective, findings, half_life_h, settings) -> CurveFit:
    tia, u_tia = component.tia()
    fit = CurveFit(
        model=settings.method,
        parameters=parameters,
        covariance=np.zeros((1, 1)),
        tia_mbq_h=tia,
        u_tia_mbq_h=u_tia,
        aicc=float("nan"),
        candidates=[],
        effective_half_life_h=float(effective),
        extrapolated_fraction=component.tia(float(points.time_h[-1]))[0] / tia,
        residuals=np.zeros(len(points.time_h)),
        findings=(),
        time_h=points.time_h,
        activity_mbq=points.activity,
        u_activity_mbq=points.uncertainty,
        components=(component,),
    )
    return finished(fit, points, findings, half_life_h, settings)
