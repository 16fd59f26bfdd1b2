"""Partial-volume correction of regions by the geometric transfer matrix.

The measured mean of region i is ``m_i = sum_j W_ij t_j`` with ``W_ij`` the mean over region i of the
blurred indicator of region j; solving for ``t`` corrects spill-out and spill-in together (Rousset et
al. 1998, doi:10.2967/jnumed.39.5.904). What is no VOI is background; it is divided by nearness to the
VOIs into one local shell each (2 FWHM wide) and the rest, because a body is not uniform.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, require_same_grid

if TYPE_CHECKING:
    import SimpleITK as sitk

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_SHELL_FWHM = 2.0
_REACH_SIGMA = 4.0


def recovery_gtm(
    spect_on_grid: sitk.Image,
    vois_on_grid: Mapping[str, sitk.Image],
    fwhm_mm: float,
) -> dict[str, float]:
    """Return the mean concentration of each VOI, Bq/mL, corrected for spill-out and spill-in.

    Parameters
    ----------
    spect_on_grid : SimpleITK.Image
        Bq/mL.
    vois_on_grid : mapping of name to weight image
        On the same grid; a VOI may lie in another (lesion in liver): the smaller takes its voxels.
    fwhm_mm : float
        Resolution of the SPECT (isotropic Gaussian), mm.

    References
    ----------
    Rousset, Ma, Evans 1998, J Nucl Med 39:904.
    """
    factors = TransferMatrix(vois_on_grid, spect_on_grid, fwhm_mm).factors(spect_on_grid)
    values = array_of(spect_on_grid)
    return {name: _mean(values, array_of(w)) / factors[name] for name, w in vois_on_grid.items()}


def gtm_factors(
    spects: Sequence[sitk.Image],
    vois: Mapping[str, sitk.Image],
    fwhm_mm: Sequence[float],
    fwhm_relative_u: float,
) -> list[dict[str, tuple[float, float]]]:
    """Return per scan and VOI measured over corrected mean, and its relative uncertainty from that of the FWHM.

    Parameters
    ----------
    spects : sequence of SimpleITK.Image
        Bq/mL, on the grid of the VOIs.
    vois : mapping of name to weight image
    fwhm_mm : sequence of float
        Resolution of each scan, mm; scans of the same resolution share their matrix.
    fwhm_relative_u : float
        k=1.
    """

    @functools.cache
    def matrix(width_mm: float) -> TransferMatrix:
        return TransferMatrix(vois, spects[0], width_mm)

    found = []
    for spect, width_mm in zip(spects, fwhm_mm, strict=True):
        factors = matrix(width_mm).factors(spect)
        wider = matrix(width_mm * (1 + fwhm_relative_u)).factors(spect) if fwhm_relative_u else factors
        found.append({name: (f, abs(float(np.log(wider[name] / f)))) for name, f in factors.items()})
    return found


def interpolated_fwhm_mm(fwhm_mm: float, spacing_mm: Sequence[float]) -> float:
    """Return the resolution of a scan that was moved onto another grid by linear interpolation.

    Between two voxels at the fraction ``f`` the interpolation adds the variance ``f (1 - f)`` of a voxel, on
    average over all fractions a sixth: 11 mm become 11.9 mm with voxels of 4.8 mm.
    """
    added = np.mean(np.square(spacing_mm)) / 6.0
    return float(np.hypot(fwhm_mm, _FWHM_PER_SIGMA * np.sqrt(added)))


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.sum(values * weights, dtype=np.float64)) / total if total > 0 else 0.0


class TransferMatrix:
    """Regions of a set of VOIs and their mutual spill at one resolution; corrects any number of scans."""

    def __init__(self, vois: Mapping[str, sitk.Image], grid: sitk.Image, fwhm_mm: float) -> None:
        for name, weights in vois.items():
            require_same_grid(weights, grid, f"VOI {name} and the SPECT")
        weights = {name: array_of(w).astype(np.float32) for name, w in vois.items()}
        self._all = tuple(vois)
        self._weights = {name: w for name, w in weights.items() if w.sum() > 0}
        if self._weights:
            spacing = np.array(grid.GetSpacing()[::-1])
            self._names, self._regions = _partition(self._weights, spacing, fwhm_mm)
            shape = next(iter(self._weights.values())).shape
            self._matrix = _matrix(self._regions, shape, spacing, fwhm_mm)

    def factors(self, spect: sitk.Image) -> dict[str, float]:
        """Return measured over corrected mean of each VOI; 1 where there is nothing to recover."""
        out = dict.fromkeys(self._all, 1.0)
        if not self._weights:
            return out
        values = array_of(spect)
        true = self._true(values)
        for name, w in self._weights.items():
            own = self._names.index(name) if name in self._names else None
            corrected = _mean_of_parts(w, own, self._regions, true)
            measured = _mean(values, w)
            # A region without activity of its own has nothing to recover.
            usable = measured > 0 and corrected > 0.05 * measured
            out[name] = float(np.clip(measured / corrected, 0.05, 20.0)) if usable else 1.0
        return out

    def _true(self, values: np.ndarray) -> np.ndarray:
        """Return the corrected mean of each region."""
        try:
            return np.linalg.solve(self._matrix, [_mean(values[box], w) for w, box in self._regions])
        except np.linalg.LinAlgError:
            msg = "The regions cannot be told apart at this resolution; recovery 'gtm' needs larger or fewer VOIs."
            raise InputError(msg) from None


def _mean_of_parts(w: np.ndarray, own: int | None, regions, true: np.ndarray) -> float:
    """Return the mean over a VOI of the corrected concentrations of the regions it is made of.

    A voxel half inside the VOI is half of it, not a mixture of the VOI and what surrounds it: the
    VOI's own region (``own``) takes its part first, then the smaller VOIs inside it theirs.
    """
    order = list(range(len(regions)))
    if own is not None:
        order.remove(own)
        order.insert(0, own)
    left = w.astype(np.float64)
    total = 0.0
    for number in order:
        region, box = regions[number]
        part = np.minimum(region, left[box])
        total += float(true[number]) * float(part.sum())
        left[box] -= part
    return total / float(w.sum(dtype=np.float64))


def _partition(weights, spacing, fwhm_mm) -> tuple[list[str], list[tuple[np.ndarray, tuple[slice, ...]]]]:
    """Return disjoint regions as (weights in a box, box): the VOIs, a shell around each, the rest.

    The names are those of the first regions, smallest first; a VOI wholly inside smaller ones has none.
    """
    from scipy.ndimage import distance_transform_edt

    names = sorted(weights, key=lambda name: float(weights[name].sum()))
    left = np.ones(next(iter(weights.values())).shape, np.float32)
    own = {}
    for name in names:
        own[name] = np.minimum(weights[name], left)
        left = left - own[name]
    used = [name for name in names if own[name].sum() > 0.5]
    parts = [own[name] for name in used]
    nearest = np.full(left.shape, _SHELL_FWHM * fwhm_mm, np.float32)
    owner = np.full(left.shape, -1, np.int16)
    for i, name in enumerate(used):
        box = _box(own[name], (_SHELL_FWHM + 0.5) * fwhm_mm / spacing)
        distance = distance_transform_edt(own[name][box] < 0.5, sampling=spacing).astype(np.float32)
        closer = distance < nearest[box]
        nearest[box] = np.where(closer, distance, nearest[box])
        owner[box] = np.where(closer, i, owner[box])
    parts += [left * (owner == i) for i in range(-1, len(used))]
    filled = [part for part in parts if part.sum() > 0.5]
    return used, [(part[box], box) for part in filled for box in (_box(part, np.zeros(3)),)]


def _box(mask: np.ndarray, margin: np.ndarray) -> tuple[slice, ...]:
    """Return the bounding box of what is not zero, widened by ``margin`` voxels."""
    out = []
    for axis, size in enumerate(mask.shape):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        pad = int(np.ceil(margin[axis]))
        out.append(slice(max(0, hit[0] - pad), min(size, hit[-1] + 1 + pad)))
    return tuple(out)


def _matrix(regions, shape: tuple[int, ...], spacing: np.ndarray, fwhm_mm: float) -> np.ndarray:
    """Return the mean over each region (row) of the blurred indicator of each region (column)."""
    from scipy.ndimage import gaussian_filter

    sigma = fwhm_mm / _FWHM_PER_SIGMA / spacing
    n = len(regions)
    matrix = np.zeros((n, n))
    sizes = [float(np.sum(weights, dtype=np.float64)) for weights, _ in regions]
    for j, (weights, box) in enumerate(regions):
        pads = [int(np.ceil(_REACH_SIGMA * s)) for s in sigma]
        wide = tuple(
            slice(max(0, b.start - p), min(size, b.stop + p))
            for b, p, size in zip(box, pads, shape, strict=True)
        )
        field = np.zeros([w.stop - w.start for w in wide], np.float32)
        inner = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide, strict=True))
        field[inner] = weights
        # The SPECT ends at the field of view: what is outside is taken to continue ("nearest").
        field = gaussian_filter(field, sigma, mode="nearest", truncate=_REACH_SIGMA)
        for i, (other, place) in enumerate(regions):
            common = tuple(
                slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(place, wide, strict=True)
            )
            if any(c.start >= c.stop for c in common):
                continue
            here = tuple(
                slice(c.start - p.start, c.stop - p.start) for c, p in zip(common, place, strict=True)
            )
            there = tuple(
                slice(c.start - w.start, c.stop - w.start) for c, w in zip(common, wide, strict=True)
            )
            matrix[i, j] = float(np.sum(other[here] * field[there], dtype=np.float64)) / sizes[i]
    return matrix
