"""Trapezoidal integration of a time-activity curve with a physical or last-slope tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.time_activity.checks import Points
from TheranosticDoseLib.time_activity.curve import CurveFit, finished, slowest_rate_per_h
from TheranosticDoseLib.time_activity.settings import FitSettings


@dataclass(frozen=True)
class Polygon:
    """The points joined by straight lines, with an exponential tail."""

    time_h: np.ndarray
    activity: np.ndarray
    uncertainty: np.ndarray
    tail_per_h: float
    before_first: str
    decay_per_h: float
    weight: float = 1.0

    def predict(self, time_h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity (T,) and its uncertainty (T,)."""
        out = []
        for values in (self.activity, self.uncertainty):
            inside = np.interp(time_h, self.time_h, values)
            inside = np.where(time_h < self.time_h[0], values[0] * self._before(time_h), inside)
            tail = values[-1] * np.exp(-self.tail_per_h * np.maximum(time_h - self.time_h[-1], 0))
            out.append(np.where(time_h > self.time_h[-1], tail, inside))
        return out[0], out[1]

    def _before(self, time_h: np.ndarray) -> np.ndarray:
        first = self.time_h[0]
        if self.before_first == "zero":
            return time_h / max(first, 1e-12)
        if self.before_first == "decay":
            return np.exp(self.decay_per_h * (first - time_h))
        return np.ones_like(time_h)

    def area(self) -> tuple[float, float]:
        """Return the integral from 0 to infinity and the part after the last point."""
        first = self.time_h[0]
        shape = {
            "constant": first,
            "zero": 0.5 * first,
            "decay": np.expm1(self.decay_per_h * first) / self.decay_per_h,
        }
        tail = self.activity[-1] / self.tail_per_h
        inside = np.sum(np.diff(self.time_h) * (self.activity[1:] + self.activity[:-1]) / 2)
        return float(self.activity[0] * shape[self.before_first] + inside + tail), float(tail)


def fit_trapezoid(points: Points, half_life_h: float, settings: FitSettings) -> CurveFit:
    """Integrate by trapezoids; the tail decays physically or with the slope of the last two points.

    The last slope is taken no slower than physical decay (unless the settings allow it). The
    uncertainty is propagated from the points, the slope of the tail included.
    """
    decay = float(np.log(2) / half_life_h)
    findings: list[Finding] = []

    def polygon(activity: np.ndarray) -> Polygon:
        tail = decay
        if settings.model == "trapezoid_slope" and len(activity) > 1:
            tail = _last_slope(points.time_h, activity, slowest_rate_per_h(half_life_h, settings), decay)
        return Polygon(points.time_h, activity, points.uncertainty, tail, settings.before_first, decay)

    best = polygon(points.activity)
    tia, tail = best.area()
    gradient = np.array(
        [
            (polygon(points.activity + step).area()[0] - polygon(points.activity - step).area()[0])
            / (2 * step.max())
            for step in np.diag(1e-4 * points.uncertainty)
        ]
    )
    u_tia = float(np.linalg.norm(gradient * points.uncertainty))
    if settings.model == "trapezoid_slope" and len(points.time_h) == 1:
        findings.append(
            Finding("assumption", "time_activity.tail", "One point has no slope; the tail is physical decay.")
        )
    half_life = float(np.log(2) / best.tail_per_h)
    parameters: dict[str, Any] = {"tail_half_life_h": half_life}
    fit = CurveFit(
        model=settings.model,
        parameters=parameters,
        covariance=np.diag(points.uncertainty**2),
        tia_mbq_h=tia,
        u_tia_mbq_h=u_tia,
        aicc=float("nan"),
        candidates=[],
        effective_half_life_h=half_life,
        extrapolated_fraction=tail / tia,
        residuals=np.zeros(len(points.time_h)),
        findings=(),
        time_h=points.time_h,
        activity_mbq=points.activity,
        u_activity_mbq=points.uncertainty,
        components=(best,),
    )
    return finished(fit, points, findings, half_life_h, settings)


def _last_slope(time_h: np.ndarray, activity: np.ndarray, slowest: float, decay: float) -> float:
    """Return the rate of the tail, per h, from the last two points; physical where one of them is zero."""
    if activity[-1] <= 0 or activity[-2] <= 0:
        return decay
    return max(float(np.log(activity[-2] / activity[-1]) / (time_h[-1] - time_h[-2])), slowest)
