"""Radiobiology: closed forms against direct integration and a published example."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from TheranosticDoseLib.progress import Progress
from TheranosticDoseLib.validation.figure import Figure, at_most

CURVES = {
    "bi-exponential": [(3.0, 0.1), (1.0, 0.012)],
    "with uptake": [(1.0, 0.0136), (-1.0, 0.6)],
    "tri-exponential": [(2.0, 0.2), (1.0, 0.02), (0.5, 0.0044)],
}
REPAIR_HALF_TIME_H = 2.8


def figures(out: Path, progress: Progress | None = None, quick: bool = False) -> list[Figure]:
    """Return the figures."""
    from TheranosticDoseLib import radiobiology

    example = radiobiology.bed(2.741, [(1.0, 0.014081)], 2.6, REPAIR_HALF_TIME_H)
    found = [
        at_most("BED of the kidney example, difference", abs(example - 2.897), 0.001, "Gy",
                reference="D 2.741 Gy, effective half-life 49.22 h, alpha/beta 2.6 Gy, repair 2.8 h: 2.897 Gy",
                detail=f"{example:.4f} Gy")
    ]  # fmt: skip
    for name, terms in CURVES.items():
        closed = radiobiology.lea_catcheside(terms, REPAIR_HALF_TIME_H)
        direct = _by_steps(terms)
        found.append(
            at_most(f"Lea-Catcheside factor, {name}: difference to direct integration",
                    100 * abs(closed / direct - 1), 0.1, "%", reference="integration of the repair equation",
                    detail=f"{closed:.6f} against {direct:.6f}")
        )  # fmt: skip
    return found + _normal_doses()


def _normal_doses() -> list[Figure]:
    """Return how far EUD, mean voxel BED and NTCP of normally distributed doses lie from their closed forms."""
    from scipy.stats import norm

    from TheranosticDoseLib import radiobiology

    mean, spread, alpha, count = 30.0, 5.0, 0.35, 200_000
    dose = norm.ppf((np.arange(count) + 0.5) / count, mean, spread)
    weights = np.ones(count)
    terms = CURVES["bi-exponential"]
    g = radiobiology.lea_catcheside(terms, REPAIR_HALF_TIME_H)
    kidney = radiobiology.ntcp(np.full(2, 23.0), np.ones(2), "kidney")
    pairs = {
        "EUD of a normal distribution of dose": (
            radiobiology.eud(dose, weights, alpha), mean - alpha * spread**2 / 2, "mean - alpha variance / 2",
        ),
        "Mean voxel BED of a normal distribution of dose": (
            float(np.mean(radiobiology.bed(dose, terms, 2.6, REPAIR_HALF_TIME_H))),
            mean + g * (mean**2 + spread**2) / 2.6, "mean + G (mean^2 + variance) / (alpha/beta)",
        ),
        "NTCP of a uniform dose": (
            kidney["probability"],
            float(norm.cdf((23.0 - kidney["td50_gy"]) / (kidney["m"] * kidney["td50_gy"]))),
            "normal distribution (scipy)",
        ),
    }  # fmt: skip
    return [
        at_most(f"{name}: difference", 100 * abs(got / exact - 1), 0.1, "%", reference=reference,
                detail=f"{got:.6g} against {exact:.6g}")
        for name, (got, exact, reference) in pairs.items()
    ]  # fmt: skip


def _by_steps(terms: list[tuple[float, float]]) -> float:
    """Integrate the pool of repairable damage, ``dp/dt = R - mu p``, and ``2 R p``, on a fine grid."""
    from scipy.integrate import solve_ivp

    mu = np.log(2) / REPAIR_HALF_TIME_H

    def change(t: float, state: np.ndarray) -> list[float]:
        rate = sum(a * np.exp(-r * t) for a, r in terms)
        return [rate - mu * state[0], 2 * rate * state[0], rate]

    end = 40 / min(r for _, r in terms)
    solved = solve_ivp(change, (0, end), [0.0, 0.0, 0.0], method="LSODA", rtol=1e-9, atol=1e-12)
    return float(solved.y[1, -1] / solved.y[2, -1] ** 2)
