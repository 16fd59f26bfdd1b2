"""How far a case lies from what a network was trained on.

Each number is compared with its range over the training.  The score of a number inside its range
is at most 1; outside it grows with the distance in widths of the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from TheranosticDoseLib.dose.cnn.network import DoseNetwork

TOLERANCE = 0.05
"""Part of its width that a range is widened by on each side."""
CARRIES_DOSE = 0.01
"""Voxels of at least this share of the largest kernel dose count."""
WORDS = {
    "log_contrast": "activity contrast (largest over median, decades)",
    "density_max": "largest density, g/cm3",
    "spacing_min": "smallest voxel side, mm",
    "spacing_max": "largest voxel side, mm",
    "anisotropy": "largest over smallest voxel side",
}
OF_THE_GRID = ("spacing_min", "spacing_max", "anisotropy")
"""Numbers that are foreign in every voxel, where others are in some."""


def features_of(tia: np.ndarray, density: np.ndarray, spacing_mm: tuple[float, ...]) -> dict[str, float]:
    """Return the numbers that describe a case; arrays ``(z, y, x)``."""
    inside = tia[(tia > 0) & (density > 0.1)]
    inside = inside if inside.size else tia[tia > 0]
    # The median of what has activity, as images do; a thousandth of the maximum stands for less.
    return {
        "log_contrast": float(np.log10(inside.max() / np.median(inside))),
        "density_max": float(density.max()),
        "spacing_min": float(min(spacing_mm)),
        "spacing_max": float(max(spacing_mm)),
        "anisotropy": float(max(spacing_mm) / min(spacing_mm)),
    }


def ranges_of(rows: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Return smallest and largest of each number over the training."""
    return {key: (min(r[key] for r in rows), max(r[key] for r in rows)) for key in rows[0]}


def score(features: dict[str, float], description: DoseNetwork) -> dict[str, Any]:
    """Return the out-of-domain score, its worst number and all of them.

    Returns
    -------
    dict
        ``score`` (above 1: outside the training), ``worst``, ``numbers`` {name: {value, low, high, score}}.
    """
    numbers = {}
    for key, value in features.items():
        low, high = description.domain.get(key, (-np.inf, np.inf))
        half = max((high - low) * (0.5 + TOLERANCE), TOLERANCE * abs(high))
        distance = abs(value - 0.5 * (low + high)) / half if np.isfinite(half) else 0.0
        numbers[key] = {"value": value, "low": low, "high": high, "score": float(distance)}
    # A number below its range of contrast or density is a simpler case, not a stranger one.
    for key in ("log_contrast", "density_max", "anisotropy"):
        if numbers[key]["value"] < numbers[key]["low"]:
            numbers[key]["score"] = min(numbers[key]["score"], 1.0)
    worst = max(numbers, key=lambda key: numbers[key]["score"])
    return {"score": numbers[worst]["score"], "worst": worst, "numbers": numbers}


def foreign_voxels(
    tia: np.ndarray, density: np.ndarray, spacing_mm: tuple[float, ...], description: DoseNetwork
) -> np.ndarray:
    """Return the voxels, and 10 mm around them, whose density or activity no training case had."""
    from scipy import ndimage

    body = tia[(tia > 0) & (density > 0.1)]
    middle = float(np.median(body if body.size else tia[tia > 0]))
    high = {key: pair[1] for key, pair in description.domain.items()}
    foreign = density > high.get("density_max", np.inf) * (1 + TOLERANCE)
    foreign |= tia > middle * 10 ** (high.get("log_contrast", np.inf) * (1 + TOLERANCE))
    if not foreign.any():
        return foreign
    distance = ndimage.distance_transform_edt(~foreign, sampling=spacing_mm[::-1])
    return distance <= 10.0
