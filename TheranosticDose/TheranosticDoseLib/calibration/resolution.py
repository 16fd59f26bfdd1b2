"""Resolution from a point or a line source."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from TheranosticDoseLib.calibration.scan import PhantomScan, finite_voxels
from TheranosticDoseLib.calibration.spheres import FWHM_PER_SIGMA
from TheranosticDoseLib.errors import InputError

REACH_MM = 40.0


@dataclasses.dataclass(frozen=True)
class Resolution:
    """Full widths at half maximum along the axes of the image.

    Attributes
    ----------
    fwhm_mm : tuple of float or None
        Along x, y and z of the image, mm; ``None`` along a line source.
    mean_fwhm_mm, u_fwhm_mm : float
        Their mean, and its standard uncertainty: that of the fit and the spread over slices.
    source : str
        ``point`` or ``line``.
    """

    fwhm_mm: tuple[float | None, ...]
    mean_fwhm_mm: float
    u_fwhm_mm: float
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)


def measure_resolution(scan: PhantomScan) -> Resolution:
    """Fit Gaussians to a point source, or to each slice across a line source along an axis of the image.

    Which of the two it is follows from the extent of what is above a tenth of the maximum.
    """
    values = finite_voxels(scan)
    spacing = np.array(scan.spect.GetSpacing()[::-1])
    bright = np.argwhere(values > 0.1 * values.max())
    extent = (bright.max(axis=0) - bright.min(axis=0) + 1) * spacing
    axis = int(np.argmax(extent))
    across = np.delete(extent, axis)
    if np.max(across) > 2 * REACH_MM:
        raise InputError(
            "The scan shows neither a point nor a line along an axis of the image; align the source."
        )
    if extent[axis] < 2.5 * np.max(across):
        widths, errors = _gaussian(_box(values, spacing), spacing)
        return _result(dict(enumerate(widths)), np.sqrt(np.mean(errors**2) / 3), "point")
    return _line(values, spacing, axis, bright[:, axis])


def _line(values: np.ndarray, spacing: np.ndarray, axis: int, along: np.ndarray) -> Resolution:
    # The ends of the line are blurred along it: a quarter on each side is left out.
    first, last = np.quantile(np.unique(along), (0.25, 0.75)).astype(int)
    if last - first < 2:
        raise InputError("The line source is too short: fewer than three slices across it.")
    others = np.delete(np.arange(3), axis)
    widths = np.array(
        [
            _gaussian(_box(values.take(i, axis), spacing[others]), spacing[others])[0]
            for i in range(first, last + 1)
        ]
    )
    mean = widths.mean(axis=0)
    # Neighboring slices share their blur: slices a resolution apart are independent.
    independent = max(1.0, (last - first + 1) * spacing[axis] / mean.mean())
    spread = float(np.sqrt(np.mean(widths.var(axis=0, ddof=1)) / (2 * independent)))
    return _result(dict(zip(others.tolist(), mean, strict=True)), spread, "line")


def _result(widths: dict[int, float], u: float, source: str) -> Resolution:
    xyz = tuple(float(widths[axis]) if axis in widths else None for axis in (2, 1, 0))
    known = [width for width in xyz if width is not None]
    return Resolution(xyz, float(np.mean(known)), float(u), source)


def _box(values: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Cut out what is around the maximum."""
    top = np.unravel_index(int(np.argmax(values)), values.shape)
    reach = np.ceil(REACH_MM / spacing).astype(int)
    return values[tuple(slice(max(0, t - r), t + r + 1) for t, r in zip(top, reach, strict=True))]


def _gaussian(box: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the widths along the axes of a Gaussian on a constant, and their standard uncertainties, mm."""
    from scipy.optimize import curve_fit

    n = box.ndim
    grids = np.stack([g.ravel() for g in np.indices(box.shape)]) * spacing[:, None]
    top = np.array(np.unravel_index(int(np.argmax(box)), box.shape)) * spacing

    def model(points: np.ndarray, *p: float) -> np.ndarray:
        center, sigma = np.array(p[:n])[:, None], np.array(p[n : 2 * n])[:, None]
        return p[-2] * np.exp(-0.5 * np.sum(((points - center) / sigma) ** 2, axis=0)) + p[-1]

    start = [*top, *([5.0] * n), float(box.max()), 0.0]
    try:
        optimum, covariance = curve_fit(model, grids, box.ravel(), p0=start, maxfev=4000)
    except RuntimeError:
        raise InputError(
            "No Gaussian fits the source; check that it is a small point or a thin line."
        ) from None
    sigma = np.abs(optimum[n : 2 * n])
    variance = sigma**2 - spacing**2 / 12.0  # a voxel is a mean over its edge
    if np.any(variance <= 0):
        raise InputError("The source is narrower than a voxel; a smaller voxel is needed for the resolution.")
    errors = np.sqrt(np.diag(covariance))[n : 2 * n]
    return FWHM_PER_SIGMA * np.sqrt(variance), FWHM_PER_SIGMA * errors
