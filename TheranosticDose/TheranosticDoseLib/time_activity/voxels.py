"""Fit of every voxel.

Three levels keep the noise from inventing decays: the mean curve of the region (VOI, or everything
with activity) informs the curve of the neighborhood (a box mean), and that informs the voxel, each
as a normal prior on the logarithm of the effective rate. A voxel whose signal is below
``minimum_signal_to_noise`` takes the shape of its neighborhood and only its height is its own.
No rate is slower than physical decay, whatever the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from TheranosticDoseLib.errors import GeometryError, InputError
from TheranosticDoseLib.findings import Finding
from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.time_activity.curve import slowest_rate_per_h
from TheranosticDoseLib.time_activity.models import FAST_PHASE, FASTEST_RATE_PER_H
from TheranosticDoseLib.time_activity.settings import FitSettings

FLAGS = {
    0: "not fitted",
    1: "mono",
    2: "another model weighs most",
    3: "shape of the neighborhood",
    4: "empty",
}
_REGION_PRIOR_WIDTH = 0.5


@dataclass(frozen=True)
class VoxelFit:
    """Result of the voxel fits; images where images were given, else arrays (Z, Y, X).

    Attributes
    ----------
    tia_mbq_h_ml : image or ndarray
        Time-integrated activity concentration, MBq h/mL.
    relative_uncertainty : image or ndarray
        Of the TIA (k=1), noise and fit; 0 where there is no TIA.
    flags : image or ndarray
        Key of ``FLAGS`` (uint8).
    effective_half_life_h : image or ndarray
    findings : tuple of Finding
    noise_factor_bq_ml : float
        Variance of a voxel over its value, Bq/mL, estimated from the residuals.
    """

    tia_mbq_h_ml: Any
    relative_uncertainty: Any
    flags: Any
    effective_half_life_h: Any
    findings: tuple[Finding, ...]
    noise_factor_bq_ml: float


def fit_voxels(
    time_h: Any,
    concentration_bq_ml: Sequence[Any] | np.ndarray,
    *,
    half_life_h: float,
    settings: FitSettings | None = None,
    mask: Any = None,
    labels: Any = None,
    u_concentration_bq_ml: Sequence[Any] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> VoxelFit:
    """Fit and integrate the concentration of every voxel over time.

    Parameters
    ----------
    time_h : array_like (T,)
        Hours after the administration, increasing.
    concentration_bq_ml : sequence of T SimpleITK images on one grid, or ndarray (T, Z, Y, X)
        Bq/mL at those times.
    half_life_h : float
        Physical half-life, h.
    settings : FitSettings, optional
        ``voxel_models`` chooses ``mono`` or ``average``.
    mask : image or ndarray (Z, Y, X), optional
        Voxels to fit; default: where any time point is positive.
    labels : image or ndarray (Z, Y, X) of int, optional
        Region of each voxel (0: rest), whose mean curve informs its voxels.
    u_concentration_bq_ml : like ``concentration_bq_ml``, optional
        Uncertainty (k=1); default: estimated from the residuals as proportional to the root of the value.
    progress : callable, optional

    Returns
    -------
    VoxelFit

    Raises
    ------
    InputError
        For fewer than one image, unequal counts, equal or unsorted times.
    GeometryError
        For images on different grids.
    """
    settings = FitSettings() if settings is None else settings
    time = np.asarray(time_h, float)
    data, grid = _arrays(concentration_bq_ml)
    _check_times(time, data)
    findings: list[Finding] = []
    bad = ~np.isfinite(data)
    if bad.any() or (data < 0).any():
        count = int(bad.sum() + (data < 0).sum())
        findings.append(
            Finding(
                "warning",
                "spect.voxels",
                f"{count} voxel values are negative or not finite; they count as 0.",
                count,
            )
        )
        data = np.where(bad | (data < 0), 0, data)
    where = np.any(data > 0, axis=0)
    if mask is not None:
        where &= _array(mask) > 0
    region = np.zeros(where.shape, np.int32) if labels is None else _array(labels).astype(np.int32)
    sigma = None if u_concentration_bq_ml is None else _arrays(u_concentration_bq_ml)[0]
    report(progress, 0.05, "Voxel fits: neighborhoods")
    maps, noise = _fit(time, data, where, region, sigma, half_life_h, settings, findings, progress)
    findings += _map_findings(maps[2], len(time), noise, settings)
    tia = (maps[0] * 1e-6).astype(np.float32)
    result = (tia, maps[1].astype(np.float32), maps[2], maps[3].astype(np.float32))
    if grid is not None:
        result = tuple(_image(array, grid) for array in result)
    report(progress, 1.0, "Voxel fits: done")
    return VoxelFit(*result, tuple(findings), noise)


def _fit(time, data, where, region, sigma, half_life_h, settings, findings, progress):
    """Return TIA (Bq h/mL), relative uncertainty, flags, half-life maps and the noise factor."""
    shape = where.shape
    y = np.ascontiguousarray(data[:, where].T, dtype=np.float64)
    smooth = _smoothed(data, where, settings.voxel_smoothing)
    q_region = _region_rates(time, y, region[where], half_life_h, settings)
    noise = _noise(time, y, smooth, q_region, half_life_h, settings) if sigma is None else 0.0
    if sigma is None:
        variance = noise * np.maximum(smooth, 0.02 * smooth.max(axis=1, keepdims=True) + 1e-12)
    else:
        variance = np.maximum(sigma[:, where].T.astype(float) ** 2, 1e-300)
    weights = 1.0 / np.maximum(variance, 1e-300)
    volume = settings.voxel_smoothing**3
    report(progress, 0.2, "Voxel fits: prior from the neighborhood")
    prior = _run(time, smooth, weights * min(volume, 8), q_region, _REGION_PRIOR_WIDTH, half_life_h, settings)
    q_mean = np.log(prior[2])
    report(progress, 0.5, "Voxel fits: voxels")
    signal = np.sqrt(np.sum(weights * y**2, axis=1))
    noisy = (signal < settings.minimum_signal_to_noise) | (np.sum(y > 0, axis=1) < min(2, len(time)))
    if len(time) == 1:
        noisy[:] = True
        q_mean = np.full(len(y), np.log(np.log(2) / half_life_h))
    average = settings.voxel_models == "average"
    found = _run(time, y, weights, q_mean, settings.voxel_prior_width, half_life_h, settings, noisy, average)
    maps = [np.zeros(shape) for _ in range(2)] + [np.zeros(shape, np.uint8), np.zeros(shape)]
    for target, values in zip(maps, (found[0], found[1], found[3], np.log(2) / found[2]), strict=True):
        target[where] = np.where(found[3] == 4, 4 if target.dtype == np.uint8 else 0, values)
    return maps, noise


def _run(time, y, weights, q_mean, width, half_life_h, settings, noisy=None, average=False):
    """Call the compiled loop; returns TIA, relative uncertainty, rate, flag."""
    from TheranosticDoseLib.time_activity.voxel_kernels import fit_all

    n = len(y)
    out = [np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n, np.uint8)]
    bounds = np.log([slowest_rate_per_h(half_life_h, settings), FASTEST_RATE_PER_H])
    q_weight = np.full(n, 1.0 / width**2 if width > 0 else 0.0)
    noisy = np.zeros(n, np.bool_) if noisy is None else noisy
    fast = np.zeros((2, 4))
    for model, name in ((2, "uptake"), (3, "clearance")):
        mean, width_fast = FAST_PHASE[name]
        fast[:, model] = mean, 1.0 / width_fast**2
    weights, q_mean = np.ascontiguousarray(weights), np.ascontiguousarray(q_mean)
    fit_all(time, y, weights, q_mean, q_weight, bounds, fast, average, noisy, *out)
    return out


def _smoothed(data, where, edge):
    """Return the box mean (N, T) of the voxels that are fitted."""
    if edge == 1:
        return np.ascontiguousarray(data[:, where].T, dtype=np.float64)
    from scipy.ndimage import uniform_filter

    out = [uniform_filter(image.astype(np.float32), edge, mode="nearest")[where] for image in data]
    return np.ascontiguousarray(np.array(out).T, dtype=np.float64)


def _region_rates(time, y, region, half_life_h, settings):
    """Return the logarithm of the effective rate of the mean curve of each voxel's region (N,)."""
    decay, slowest = np.log(2) / half_life_h, slowest_rate_per_h(half_life_h, settings)
    if len(time) == 1 or not len(y):
        return np.full(len(y), np.log(decay))
    from TheranosticDoseLib.time_activity.models import MODEL
    from TheranosticDoseLib.time_activity.solver import fit_batch

    names, index = np.unique(region, return_inverse=True)
    # Voxels with little activity would drown the shape of the region: weight each by its sum.
    weight = y.sum(1)
    mean = np.array([np.bincount(index, weight * y[:, t], len(names)) for t in range(len(time))]).T
    mean = mean / np.maximum(np.bincount(index, weight, len(names)), 1e-300)[:, None]
    fit = fit_batch(
        MODEL["mono"],
        time,
        mean,
        0.05 * np.maximum(mean, 0.05 * mean.max(1, keepdims=True) + 1e-12),
        decay,
        slowest,
    )
    return fit.theta[index, 1]


def _noise(time, y, smooth, q_region, half_life_h, settings):
    """Return variance/value, Bq/mL, from the residuals of a mono-exponential fit of a fixed sample of voxels."""
    n, n_times = y.shape
    if n_times < 3 or n == 0:
        # Nothing is left to judge the noise by: the difference to the neighborhood is taken instead.
        ratio = (y - smooth) ** 2 / np.maximum(smooth, 1e-12)
        return float(max(np.median(ratio[smooth > 0.1 * smooth.max()]) / 0.455, 1e-12)) if n else 1.0
    total = smooth.sum(1)
    rows = np.flatnonzero(total > np.quantile(total, 0.5))
    rows = rows[:: max(1, len(rows) // 20000)]
    weights = 1.0 / np.maximum(smooth[rows], 1e-3 * smooth[rows].max(1, keepdims=True))
    found = _run(time, y[rows], weights, q_region[rows], 0.0, half_life_h, settings)
    fitted = (found[0] * found[2])[:, None] * np.exp(-found[2][:, None] * time)
    chi2 = np.sum(weights * (y[rows] - fitted) ** 2, axis=1)
    from scipy.stats import chi2 as distribution

    return float(max(np.median(chi2) / distribution.ppf(0.5, n_times - 2), 1e-12))


def _map_findings(flags, n_times, noise, settings) -> list[Finding]:
    fitted = max(int(np.sum(flags > 0)), 1)
    shape = int(np.sum(flags == 3))
    findings = []
    if n_times == 1:
        findings.append(
            Finding(
                "assumption",
                "time_activity.voxels",
                "One time point: every voxel decays physically.",
                remedy="Add scans.",
            )
        )
    elif shape:
        findings.append(
            Finding(
                "info",
                "time_activity.voxels",
                f"{100 * shape / fitted:.1f} % of the voxels have too few counts for an own decay and take the "
                "shape of their neighborhood (flag 3 in the map).",
                shape / fitted,
            )
        )
    return findings


def _check_times(time: np.ndarray, data: np.ndarray) -> None:
    if time.ndim != 1 or len(time) != len(data) or not len(time):
        raise InputError(
            f"The voxel fit needs one time per image; got {time.size} times and {len(data)} images."
        )
    if not np.all(np.isfinite(time)) or np.any(time < 0) or np.any(np.diff(time) <= 0):
        msg = f"Times must be increasing hours after the administration, not {time.tolist()}."
        raise InputError(msg)


def _array(image: Any) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    from TheranosticDoseLib.geometry import array_of

    return array_of(image)


def _arrays(images: Any) -> tuple[np.ndarray, Any]:
    """Return (T, Z, Y, X) and the grid (None for arrays)."""
    if isinstance(images, np.ndarray):
        if images.ndim != 4:
            raise GeometryError(f"Voxel values must be (T, Z, Y, X), not {images.shape}.")
        return images, None
    images = list(images)
    if not images:
        raise InputError("The voxel fit needs at least one image.")
    if isinstance(images[0], np.ndarray):
        return np.stack(images), None
    from TheranosticDoseLib.geometry import require_same_grid

    for image in images[1:]:
        require_same_grid(image, images[0], "The SPECT images of the voxel fit")
    return np.stack([_array(image) for image in images]), images[0]


def _image(array: np.ndarray, grid: Any) -> Any:
    import SimpleITK as sitk

    if array.dtype != np.uint8:
        from TheranosticDoseLib.geometry import image_like

        return image_like(array, grid)
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(grid)
    return image
