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
    return found


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
