"""Gamma index in three dimensions (Low et al. 1998, doi:10.1118/1.598248).

Interpolated by pymedphys, or between voxel centres only (what plastimatch and SlicerRT do by
default; it finds fewer matches where voxels are not small against the distance).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import EngineUnavailableError, InputError
from TheranosticDoseLib.geometry import array_of, require_same_grid

if TYPE_CHECKING:
    import SimpleITK as sitk


def gamma_index(
    reference: sitk.Image,
    evaluated: sitk.Image,
    dose_percent: float = 3.0,
    distance_mm: float = 3.0,
    cutoff_percent: float = 10.0,
    max_gamma: float = 2.0,
    points: int | None = None,
    seed: int = 0,
    interpolate: bool = True,
) -> dict[str, Any]:
    """Return the gamma index of two dose maps, global normalisation to the maximum of the reference.

    Parameters
    ----------
    reference, evaluated : SimpleITK.Image
        Gy, on one grid.
    dose_percent, distance_mm : float
        Acceptance.
    cutoff_percent : float
        Reference voxels below this percentage of the maximum are left out.
    max_gamma : float
        Larger values count as this.
    points : int, optional
        Compute it for a random choice of so many voxels (drawn with ``seed``); all where ``None``.
    interpolate : bool
        Search between the voxel centres too (needs pymedphys).

    Returns
    -------
    dict
        ``pass_fraction``, its standard uncertainty from the choice of voxels, ``mean``, ``points`` and the criteria.

    Raises
    ------
    EngineUnavailableError
        Where pymedphys is not installed.
    """
    require_same_grid(reference, evaluated, "The dose maps")
    first = np.array(array_of(reference), np.float64)
    second = np.array(array_of(evaluated), np.float64)
    if first.max() <= 0:
        raise InputError("The reference dose is zero everywhere; there is no gamma index.")
    spacing = reference.GetSpacing()[::-1]
    if points is not None:
        first = _some_voxels(first, cutoff_percent, points, seed)
    method = _interpolated if interpolate else _between_centres
    values = method(first, second, spacing, dose_percent, distance_mm, cutoff_percent, max_gamma)
    passed = float(np.mean(values <= 1.0))
    return {
        "pass_fraction": passed,
        "u_pass_fraction": 0.0 if points is None else float(np.sqrt(passed * (1 - passed) / values.size)),
        "mean": float(values.mean()),
        "points": int(values.size),
        "dose_percent": dose_percent,
        "distance_mm": distance_mm,
        "cutoff_percent": cutoff_percent,
        "max_gamma": max_gamma,
        "interpolated": interpolate,
    }


def _interpolated(first, second, spacing, dose_percent, distance_mm, cutoff_percent, max_gamma) -> np.ndarray:
    try:
        import pymedphys
    except ImportError as error:
        raise EngineUnavailableError(
            "The interpolated gamma index needs pymedphys: pip install pymedphys."
        ) from error
    axes = tuple(np.arange(n) * s for n, s in zip(first.shape, spacing, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = pymedphys.gamma(
            axes,
            first,
            axes,
            second,
            dose_percent,
            distance_mm,
            lower_percent_dose_cutoff=cutoff_percent,
            interp_fraction=10,
            max_gamma=max_gamma,
            quiet=True,
        )
    return values[np.isfinite(values)]


def _between_centres(
    first, second, spacing, dose_percent, distance_mm, cutoff_percent, max_gamma
) -> np.ndarray:
    """Search the voxels within ``max_gamma`` distances of each voxel."""
    reach = [int(max_gamma * distance_mm / s) for s in spacing]
    padded = np.pad(second, [(r, r) for r in reach], constant_values=np.inf)
    chosen = np.nonzero(first >= first.max() * cutoff_percent / 100)
    here = first[chosen]
    best = np.full(here.shape, max_gamma**2)
    for shift in np.ndindex(*(2 * r + 1 for r in reach)):
        away = sum(((i - r) * s) ** 2 for i, r, s in zip(shift, reach, spacing, strict=True)) / distance_mm**2
        if away > max_gamma**2:
            continue
        there = padded[tuple(index + i for index, i in zip(chosen, shift, strict=True))]
        np.minimum(best, ((there - here) / (0.01 * dose_percent * first.max())) ** 2 + away, out=best)
    return np.sqrt(best)


def _some_voxels(dose: np.ndarray, cutoff_percent: float, points: int, seed: int) -> np.ndarray:
    """Return the dose with all but some voxels above the cutoff set to zero; the maximum is always kept."""
    above = np.flatnonzero(dose.ravel() >= dose.max() * cutoff_percent / 100)
    if above.size <= points:
        return dose
    chosen = np.random.default_rng(seed).choice(above, points, replace=False)
    kept = np.zeros(dose.size)
    kept[chosen] = dose.ravel()[chosen]
    peak = int(np.argmax(dose))
    kept[peak] = dose.ravel()[peak]
    return kept.reshape(dose.shape)
