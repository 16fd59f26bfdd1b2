"""Checks of the points of a time-activity curve: an error where no number could be trusted, else findings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from TheranosticDoseLib.errors import InputError, UnitsError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.time_activity.settings import FitSettings

MOST_HALF_LIVES = 20
"""Nothing is measured a millionfold decayed; such a time is in another unit."""
UNIT_DECADES = 2.3
"""Points this far apart (a factor of 200) may be in different units."""


@dataclass(frozen=True)
class Points:
    """Checked points in order of time; ``order`` maps them back to the order they were given in."""

    time_h: np.ndarray
    activity: np.ndarray
    uncertainty: np.ndarray
    order: np.ndarray
    findings: tuple[Finding, ...]


def checked_points(
    time_h: np.ndarray,
    activity: np.ndarray,
    uncertainty: np.ndarray | None,
    half_life_h: float,
    settings: FitSettings,
) -> Points:
    """Return the points sorted by time, with an uncertainty each.

    Raises
    ------
    InputError
        For no points, unequal lengths, values that are not finite, negative or equal times,
        negative activity, and uncertainties that are not positive.
    UnitsError
        Where one point, or the curve, is in another unit than the rest.
    """
    try:
        time, values = np.atleast_1d(np.asarray(time_h, float)), np.atleast_1d(np.asarray(activity, float))
    except (TypeError, ValueError):
        raise InputError("Times (h) and activities (MBq) of a curve are lists of numbers.") from None
    if time.ndim != 1 or time.shape != values.shape or not len(time):
        msg = (
            f"A curve needs as many times as activities and at least one; got {time.size} and {values.size}."
        )
        raise InputError(msg)
    if not (np.isfinite(half_life_h) and half_life_h > 0):
        raise InputError(f"The physical half-life is {half_life_h} h; give a positive number of hours.")
    _require_finite(time, values)
    order = np.argsort(time, kind="stable")
    time, values = time[order], values[order]
    findings = []
    if np.any(order != np.arange(len(order))):
        findings.append(
            Finding("info", "time_activity.time_h", "The points were not in order of time; they were sorted.")
        )
    if time[-1] > MOST_HALF_LIVES * half_life_h:
        msg = (
            f"A point lies {time[-1]:g} h after the administration, {time[-1] / half_life_h:.0f} half-lives; "
            "are the times in seconds or minutes? Give hours."
        )
        raise UnitsError(msg)
    equal = np.flatnonzero(np.diff(time) < 1e-6)
    if len(equal):
        msg = (
            f"Two points have the same time, {time[equal[0]]:g} h; "
            "give each scan its own start time or leave one out."
        )
        raise InputError(msg)
    sigma = _uncertainty(values, uncertainty, order, settings, findings)
    _check_units(time, values, half_life_h, settings, findings)
    return Points(time, values, sigma, order, tuple(findings))


def _require_finite(time: np.ndarray, values: np.ndarray) -> None:
    for name, array, unit in (("time", time, "h after administration"), ("activity", values, "MBq")):
        bad = np.flatnonzero(~np.isfinite(array))
        if len(bad):
            raise InputError(f"The {name} of point {bad[0] + 1} is {array[bad[0]]}; give a number ({unit}).")
    if np.any(time < 0):
        msg = f"A point lies {-time.min():g} h before the administration; check the injection and scan times."
        raise InputError(msg)
    if np.any(values < 0):
        bad = int(np.argmin(values))
        msg = (
            f"The activity at {time[bad]:g} h is negative ({values[bad]:g} MBq); "
            "check the background subtraction or leave the point out."
        )
        raise InputError(msg)


def _uncertainty(values, uncertainty, order, settings, findings) -> np.ndarray:
    floor = settings.minimum_relative_uncertainty * max(values.max(), 1e-300)
    if uncertainty is None:
        relative = settings.relative_uncertainty
        findings.append(
            Finding(
                "assumption",
                "time_activity.u_activity_mbq",
                f"No uncertainty was given for the points; {100 * relative:g} % of each is assumed.",
                relative,
                "FitSettings.relative_uncertainty",
                "Give the uncertainty of each activity (counting, calibration, outline).",
            )
        )
        # A zero point still needs a width: that of a point of 5 % of the largest.
        return np.maximum(relative * np.maximum(values, 0.05 * values.max()), max(floor, 1e-300))
    try:
        sigma = np.broadcast_to(np.asarray(uncertainty, float), values.shape)[order]
    except (TypeError, ValueError):
        msg = f"Give one uncertainty (MBq, k=1) for each of the {len(values)} points, or none."
        raise InputError(msg) from None
    # A relative uncertainty of nothing is nothing; such a point gets that of a small one.
    least = 0.05 * settings.relative_uncertainty * values.max()
    sigma = np.where((sigma == 0) & (values == 0), max(least, 1e-300), sigma)
    if not np.all(np.isfinite(sigma)) or np.any(sigma <= 0):
        bad = int(np.flatnonzero(~(np.isfinite(sigma) & (sigma > 0)))[0])
        msg = (
            f"The uncertainty of point {bad + 1} is {sigma[bad]}; "
            "give a positive number (MBq, k=1), or none to have one assumed."
        )
        raise InputError(msg)
    return np.maximum(sigma, np.maximum(settings.minimum_relative_uncertainty * values, 1e-12 * floor))


def _check_units(time, values, half_life_h, settings, findings) -> None:
    """Find one point a thousand times off, more activity than was given, and times in days."""
    positive = values > 0
    if positive.sum() >= 3:
        logs = np.log10(values[positive] * np.exp2(time[positive] / half_life_h))
        distance = logs - np.array([np.median(np.delete(logs, i)) for i in range(len(logs))])
        worst = int(np.argmax(np.abs(distance)))
        rest = np.delete(logs, worst)
        if abs(distance[worst]) > 2.3 and np.ptp(rest) < 1.5 and abs(distance[worst]) > 2 * np.ptp(rest):
            factor = 10 ** abs(distance[worst])
            msg = (
                f"The activity at {time[positive][worst]:g} h is about {factor:.0f} times "
                f"{'larger' if distance[worst] > 0 else 'smaller'} than the others; "
                "is it in kBq or GBq? Give all points in MBq."
            )
            raise UnitsError(msg)
    findings += _two_units(time[positive], values[positive], half_life_h)
    given = settings.administered_activity_mbq
    if given is not None:
        left = given * np.exp2(-time / half_life_h)
        over = values / left
        if over.max() > 2:
            msg = (
                f"The activity at {time[np.argmax(over)]:g} h is {over.max():.1f} times what was left of "
                f"the {given:g} MBq given; the points are probably in kBq. Give them in MBq."
            )
            raise UnitsError(msg)
        if over.max() > 1.05:
            findings.append(
                Finding(
                    "warning",
                    "time_activity.activity_mbq",
                    f"A point holds {100 * over.max():.0f} % of the activity that can be left at its time.",
                    float(over.max()),
                    remedy="Check camera factor, units and administered activity.",
                )
            )
    if time[-1] < 0.09 * half_life_h and time[-1] <= 16 and half_life_h > 48:
        which = f"All {len(time)} points lie" if len(time) > 1 else "The only point lies"
        findings.append(
            Finding(
                "warning",
                "time_activity.time_h",
                f"{which} within {time[-1]:g} h of the administration; are the times in days?",
                float(time[-1]),
                remedy="Give times in hours after the administration.",
            )
        )


def _two_units(time: np.ndarray, values: np.ndarray, half_life_h: float) -> list[Finding]:
    """Return a finding where the points fall into two groups with a jump of a unit between them."""
    if len(values) < 2:
        return []
    logs = np.log10(values * np.exp2(time / half_life_h))
    rank = np.argsort(logs)
    gaps = np.diff(logs[rank])
    split = int(np.argmax(gaps)) + 1
    if gaps[split - 1] < UNIT_DECADES or max(np.ptp(logs[rank[:split]]), np.ptp(logs[rank[split:]])) > 1.5:
        return []
    high = ", ".join(f"{t:g}" for t in np.sort(time[rank[split:]]))
    factor = 10 ** gaps[split - 1]
    text = (
        f"The activity at {high} h is {factor:.0f} times or more that of the other points; are some in kBq?"
    )
    return [
        Finding(
            "warning",
            "time_activity.activity_mbq",
            text,
            float(gaps[split - 1]),
            "",
            "Give all points in MBq.",
        )
    ]


def late_findings(points: Points, half_life_h: float, settings: FitSettings) -> list[Finding]:
    """Return findings about a late part that rises or falls more slowly than physical decay."""
    findings = []
    if len(points.time_h) < 2:
        return findings
    (t1, t2), (a1, a2) = points.time_h[-2:], points.activity[-2:]
    u1, u2 = points.uncertainty[-2:]
    decayed = np.exp2(-(t2 - t1) / half_life_h)
    if a2 - a1 * decayed > 2 * np.hypot(u2, u1 * decayed):
        rises = a2 > a1
        tail = (
            "the slower decay was allowed by the settings"
            if settings.allow_slower_than_physical
            else "the tail is held at physical decay and the points do not fit it"
        )
        findings.append(
            Finding(
                "warning",
                "time_activity.late_decay",
                f"From {t1:g} to {t2:g} h the activity {'rises' if rises else 'falls more slowly than physical decay'}"
                f" ({a1:.4g} to {a2:.4g} MBq); {tail}.",
                float(a2 / (a1 * decayed)) if a1 > 0 else None,
                remedy="Check registration, outline and calibration of the late scans, or add a later scan.",
            )
        )
    return findings
