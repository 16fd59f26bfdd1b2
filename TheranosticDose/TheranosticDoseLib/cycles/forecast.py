"""What the next cycle will give per activity, and how much activity stays within a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from TheranosticDoseLib.errors import InputError

PRIOR_WEIGHT = 3.0
"""How many cycles the assumed variation between cycles counts for, against the patient's own."""


def forecast(
    gy_per_gbq: Sequence[float], relative_u: Sequence[float | None], between_cycles: float
) -> dict[str, Any] | None:
    """Return the dose per activity of the next cycle with its relative standard uncertainty.

    The mean of the logarithms of the cycles so far.  Its uncertainty is the variation between cycles,
    the patient's own pooled with an assumed one, for one new cycle, and that of the measurement, which
    is taken as common to all (same camera, same method).

    Parameters
    ----------
    gy_per_gbq : sequence of float
        Per cycle, in their order.
    relative_u : sequence of float or None
        Of the measured doses, k=1.
    between_cycles : float
        Assumed relative standard deviation between cycles.

    Returns
    -------
    dict or None
        ``gy_per_gbq``, ``relative_u``, ``between_cycles``, ``cycles``; ``None`` without a positive dose.
    """
    values = [math.log(value) for value in gy_per_gbq if value > 0]
    n = len(values)
    if n == 0:
        return None
    mean = sum(values) / n
    squares = sum((value - mean) ** 2 for value in values)
    variance = (PRIOR_WEIGHT * between_cycles**2 + squares) / (PRIOR_WEIGHT + n - 1)
    known = [u for u in relative_u if u is not None]
    measured = max(known, default=0.0)
    return {
        "gy_per_gbq": math.exp(mean),
        "relative_u": math.sqrt(variance * (1 + 1 / n) + measured**2),
        "between_cycles": math.sqrt(variance),
        "measured_relative_u": measured,
        "cycles": n,
    }


def activity_within(
    remaining_gy: float, gy_per_gbq: float, relative_u: float, confidence: float, bed_per_gy2: float = 0.0
) -> float:
    """Return the activity, GBq, whose dose stays below what remains with this confidence; 0 where nothing does.

    Parameters
    ----------
    remaining_gy : float
        To the limit, Gy (dose or BED), already lowered by the uncertainty of what was accumulated.
    gy_per_gbq, relative_u : float
        Of the next cycle; a lognormal of the dose per activity.
    confidence : float
        0.5 is the expected value.
    bed_per_gy2 : float
        ``G / (alpha/beta)``: then ``remaining_gy`` is BED, ``BED = D + bed_per_gy2 D^2``.
    """
    if not 0 < confidence < 1:
        raise InputError(f"The confidence is {confidence}; a fraction between 0 and 1 is needed.")
    if gy_per_gbq <= 0:
        raise InputError("The dose per activity is not above 0.")
    if remaining_gy <= 0:
        return 0.0
    dose = remaining_gy
    if bed_per_gy2 > 0:
        # Stable for small factors, where the usual root loses its digits.
        dose = 2 * remaining_gy / (1 + math.sqrt(1 + 4 * bed_per_gy2 * remaining_gy))
    spread = math.sqrt(math.log1p(relative_u**2))
    return dose / (gy_per_gbq * math.exp(NormalDist().inv_cdf(confidence) * spread))
