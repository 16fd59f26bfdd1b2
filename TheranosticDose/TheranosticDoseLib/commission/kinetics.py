"""Curve fits against integrals that are known: one and two compartments, with and without noise."""

from __future__ import annotations

import numpy as np

from TheranosticDoseLib.commission.check import Check
from TheranosticDoseLib.progress import Progress, report

TIME_H = (2.0, 24.0, 48.0, 96.0, 168.0)
NOISE = 0.03
# (amplitude MBq, effective half-life h); a negative amplitude is uptake.
CURVES = {
    "one compartment": ((300.0, 55.0),),
    "two compartments, two phases of washout": ((200.0, 12.0), (150.0, 80.0)),
    "two compartments, uptake and washout": ((300.0, 60.0), (-300.0, 4.0)),
}


def checks(quick: bool = False, progress: Progress | None = None) -> list[Check]:
    """Return TIA against the analytic integral, and whether the uncertainties are those of the deviations."""
    found, scores = [], []
    repeats = 12 if quick else 60
    for number, (name, terms) in enumerate(CURVES.items()):
        report(progress, number / len(CURVES), f"Kinetics: {name}")
        true = sum(a * half / np.log(2) for a, half in terms)
        tia, _ = _fitted(terms, None)
        source = "sum of amplitude over rate"
        # Selection among models may take a neighbor: 1 %, not rounding.
        found.append(Check("Kinetics", f"{name}, no noise", tia, true, "MBq h", 0.01, source=source))
        fits = np.array([_fitted(terms, seed) for seed in range(repeats)])
        mean, u = float(fits[:, 0].mean()), float(fits[:, 0].std(ddof=1) / np.sqrt(repeats))
        text = f"{name}, mean of {repeats} with {100 * NOISE:g} % noise"
        found.append(Check("Kinetics", text, mean, true, "MBq h", 0.03, u, source=source))
        scores += list((fits[:, 0] - true) / fits[:, 1])
    spread = float(np.sqrt(np.mean(np.square(np.clip(scores, -5, 5)))))
    text = "root mean square of (TIA - truth) / its uncertainty"
    found.append(
        Check("Kinetics", text, spread, 1.0, "", 0.5, 1 / np.sqrt(2 * len(scores)), True, "1 by definition")
    )
    return found


def _fitted(terms: tuple, seed: int | None) -> tuple[float, float]:
    from TheranosticDoseLib.nuclides import nuclide
    from TheranosticDoseLib.time_activity import FitSettings, fit_curve

    time = np.array(TIME_H)
    activity = sum(a * np.exp(-np.log(2) * time / half) for a, half in terms)
    u = NOISE * activity
    if seed is not None:
        activity = activity + np.random.default_rng(seed).normal(size=time.size) * u
    fit = fit_curve(time, activity, u, half_life_h=nuclide("Lu-177").half_life_h, settings=FitSettings())
    return fit.tia_mbq_h, fit.u_tia_mbq_h
