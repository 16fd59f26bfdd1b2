"""Dose-volume histogram of a VOI, exact to the voxel grid, with partial-voxel weights.

Decisions: the dose is constant within a voxel (no interpolation, no oversampling);
each voxel counts with the fraction of it that lies inside the VOI; no dose bins:
``V(d)`` is the step function of the sorted voxel doses, ``D(x)`` the largest dose that
at least ``x`` percent of the volume receives (ICRU 83, section 3).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, require_same_grid, voxel_volume_ml

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TheranosticDoseLib.dose import DoseResult

SMALLEST_WEIGHT = 1e-3
"""Voxels that are inside with less than this are left out of minimum and maximum (rounding of a resampling)."""


@dataclasses.dataclass(frozen=True)
class Dvh:
    """Dose-volume histogram.

    Attributes
    ----------
    sorted_dose_gy : ndarray, shape (n,)
        Voxel doses within the VOI, ascending, Gy.
    volume_at_least_ml : ndarray, shape (n,)
        Volume with at least that dose, mL; the first entry is the whole volume.
    volume_ml, mean_gy, min_gy, max_gy : float
        Of the VOI.
    u_mean_gy : float or None
        Standard uncertainty of the mean from the voxels' uncertainties, Gy.
    """

    sorted_dose_gy: np.ndarray
    volume_at_least_ml: np.ndarray
    volume_ml: float
    mean_gy: float
    min_gy: float
    max_gy: float
    u_mean_gy: float | None = None

    def d(self, percent: float) -> float:
        """Return the largest dose, Gy, that at least ``percent`` of the volume receives."""
        if not 0 <= percent <= 100:
            raise InputError(f"D{percent:g} is asked for; a percentage of the volume is 0 to 100.")
        wanted = self.volume_ml * percent / 100.0 * (1 - 1e-9)
        last = int(np.searchsorted(-self.volume_at_least_ml, -wanted, side="right")) - 1
        return float(self.sorted_dose_gy[max(last, 0)])

    def v_ml(self, dose_gy: float) -> float:
        """Return the volume, mL, that receives at least ``dose_gy``."""
        first = int(np.searchsorted(self.sorted_dose_gy, dose_gy, side="left"))
        return float(self.volume_at_least_ml[first]) if first < len(self.sorted_dose_gy) else 0.0

    def v(self, dose_gy: float) -> float:
        """Return the percentage of the volume that receives at least ``dose_gy``."""
        return 100.0 * self.v_ml(dose_gy) / self.volume_ml

    def curve(self, points: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(dose_gy, volume_percent)`` for a plot: evenly spaced doses from zero to the maximum."""
        dose_gy = np.linspace(0.0, self.max_gy if self.max_gy > 0 else 1.0, points)
        first = np.searchsorted(self.sorted_dose_gy, dose_gy, side="left")
        volume = np.append(self.volume_at_least_ml, 0.0)[first]
        return dose_gy, 100.0 * volume / self.volume_ml

    def to_dict(self, levels_gy: tuple[float, ...] = (10.0, 20.0, 40.0)) -> dict[str, Any]:
        """Return the summary with the keys of ``results.json``; Vx in percent for each level."""
        values: dict[str, Any] = {"mean_gy": self.mean_gy}
        if self.u_mean_gy is not None:
            values["u_mean_gy"] = self.u_mean_gy
        values.update(min=self.min_gy, max=self.max_gy)
        values.update({f"d{percent}_gy": self.d(percent) for percent in (98, 95, 50, 2)})
        values.update({f"v{level:g}_gy_percent": self.v(level) for level in levels_gy})
        return values


def dose_volume_histogram(
    dose_gy: sitk.Image,
    weights: sitk.Image,
    uncertainty_gy: sitk.Image | None = None,
    correlated: bool = False,
) -> Dvh:
    """Return the dose-volume histogram of a VOI.

    Parameters
    ----------
    dose_gy : SimpleITK.Image
        Absorbed dose, Gy.
    weights : SimpleITK.Image
        Fraction of each voxel inside the VOI, 0 to 1, on the same grid.
    uncertainty_gy : SimpleITK.Image, optional
        Standard uncertainty of each voxel, Gy; gives ``u_mean_gy``.
    correlated : bool
        Errors of the voxels are alike (those of a network, say) and do not average out; else they
        are taken as independent (statistics of a Monte Carlo).

    Raises
    ------
    GeometryError
        Where the images are on different grids.
    InputError
        For an empty VOI, weights outside 0 to 1, or a dose that is NaN inside the VOI.
    """
    require_same_grid(dose_gy, weights, "The dose map and the VOI")
    weight = np.asarray(array_of(weights), np.float64).ravel()
    if not np.isfinite(weight).all() or weight.min() < -1e-6 or weight.max() > 1 + 1e-6:
        raise InputError("The VOI weights must be fractions from 0 to 1; give a VOI, not a label map.")
    inside = np.flatnonzero(weight > 0)
    if inside.size == 0 or weight.max() < SMALLEST_WEIGHT:
        raise InputError("The VOI holds no voxel of the dose grid; it is empty or lies outside the image.")
    weight = weight[inside]
    dose = np.asarray(array_of(dose_gy)).ravel()[inside].astype(np.float64)
    if not np.isfinite(dose).all():
        raise InputError("The dose map holds NaN or infinite voxels inside the VOI.")
    order = np.argsort(dose)  # among equal doses the order plays no part
    volume_ml = weight[order] * voxel_volume_ml(dose_gy)
    at_least = np.cumsum(volume_ml[::-1])[::-1]
    counted = dose[weight >= SMALLEST_WEIGHT]
    u_mean = None
    if uncertainty_gy is not None:
        require_same_grid(dose_gy, uncertainty_gy, "The dose map and its uncertainty")
        u = np.asarray(array_of(uncertainty_gy)).ravel()[inside].astype(np.float64)
        total = np.sum(weight * u) if correlated else np.sqrt(np.sum((weight * u) ** 2))
        u_mean = float(total / weight.sum())
    return Dvh(
        sorted_dose_gy=dose[order],
        volume_at_least_ml=at_least,
        volume_ml=float(at_least[0]),
        mean_gy=float(np.sum(weight * dose) / weight.sum()),
        min_gy=float(counted.min()),
        max_gy=float(counted.max()),
        u_mean_gy=u_mean,
    )


def histogram_of(result: DoseResult, weights: sitk.Image) -> Dvh:
    """Return the dose-volume histogram of an engine's dose in a VOI, weights on its grid."""
    correlated = bool(result.record.get("uncertainty_correlated"))
    return dose_volume_histogram(result.dose, weights, result.uncertainty, correlated)
