"""Partial-volume correction of regions by the geometric transfer matrix.

The measured mean of region i is ``m_i = sum_j W_ij t_j`` with ``W_ij`` the mean over region i of the
blurred indicator of region j; solving for ``t`` corrects spill-out and spill-in together (Rousset et
al. 1998, doi:10.2967/jnumed.39.5.904). What is no VOI is background; it is divided by nearness to the
VOIs into one local shell each (2 FWHM wide) and the rest, because a body is not uniform.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of, require_same_grid

if TYPE_CHECKING:
    import SimpleITK as sitk

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_SHELL_FWHM = 2.0
_REACH_SIGMA = 4.0
Box = tuple[slice, ...]
Part = tuple[np.ndarray, Box]


class KeptRegions:
    """What was made of the regions last time: an edit of one VOI leaves most of them as they were."""

    def __init__(self) -> None:
        self._last: dict[tuple, tuple[np.ndarray, Any]] = {}
        self._now: dict[tuple, tuple[np.ndarray, Any]] = {}

    def of(self, what: tuple, region: Part, make: Callable[[], Any]) -> Any:
        """Return what was made of a region before, else ``make()``; ``what`` names it with its settings."""
        weights, box = region
        key = *what, *((s.start, s.stop) for s in box)
        kept = self._now.get(key) or self._last.get(key)
        if kept is None or not np.array_equal(kept[0], weights):
            kept = weights, make()
        self._now[key] = kept
        return kept[1]

    def drop_unused(self) -> None:
        """Let go of what was not asked for since the last call."""
        self._last, self._now = self._now, {}


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
    kept: KeptRegions | None = None,
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
    kept : KeptRegions, optional
        Of an earlier call; what has not changed since is not computed again.
    """
    widths = sorted({w * factor for w in fwhm_mm for factor in (1.0, 1.0 + fwhm_relative_u)})
    geometry = _Geometry(vois, spects[0], widths[-1], kept)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda width_mm: TransferMatrix(vois, spects[0], width_mm, geometry), widths)
        matrices = dict(zip(widths, made, strict=True))
    found = []
    for spect, width_mm in zip(spects, fwhm_mm, strict=True):
        factors = matrices[width_mm].factors(spect)
        wider = matrices[width_mm * (1.0 + fwhm_relative_u)].factors(spect) if fwhm_relative_u else factors
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


class _Geometry:
    """What does not depend on the resolution: the VOIs in their boxes, disjoint, and the distances to each."""

    def __init__(
        self,
        vois: Mapping[str, sitk.Image],
        grid: sitk.Image,
        widest_mm: float,
        kept: KeptRegions | None = None,
    ) -> None:
        self.kept = kept
        for name, weights in vois.items():
            require_same_grid(weights, grid, f"VOI {name} and the SPECT")
        arrays = {name: array_of(w) for name, w in vois.items()}
        boxes = {name: bounding_box(w) for name, w in arrays.items() if w.any()}
        self.vois: dict[str, Part] = {
            name: (arrays[name][box].astype(np.float32), box) for name, box in boxes.items()
        }
        self.spacing, self.shape = np.array(grid.GetSpacing()[::-1]), grid.GetSize()[::-1]
        if self.vois:
            self.names, self.parts, self.left = _disjoint(self.vois, self.shape)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                distances = list(pool.map(lambda part: self._distance(part, widest_mm), self.parts))
            self.around = [wide for _, wide in distances]
            # The distance to the nearest part as far as any shell reaches, and which part that is.
            self.nearest_mm = np.full(self.shape, _SHELL_FWHM * widest_mm, np.float32)
            self.owner = np.full(self.shape, -1, np.int16)
            for number, (distance, wide) in enumerate(distances):
                closer = distance < self.nearest_mm[wide]
                self.nearest_mm[wide][closer] = distance[closer]
                self.owner[wide][closer] = number

    def _distance(self, part: Part, widest_mm: float) -> Part:
        """Return the distance to a part, mm, in a box that holds its shell at the widest resolution."""
        return self._of(part, _distance, widest_mm)

    def blurred(self, region: Part, fwhm_mm: float) -> Part:
        """Return the blurred indicator of a region, in a box as far as it reaches."""
        return self._of(region, _blurred, fwhm_mm)

    def _of(self, region: Part, function: Callable[..., Part], width_mm: float) -> Part:
        make = functools.partial(function, region, self.shape, self.spacing, width_mm)
        if self.kept is None:
            return make()
        return self.kept.of((function.__name__, width_mm, *self.shape, *self.spacing), region, make)


class TransferMatrix:
    """Regions of a set of VOIs and their mutual spill at one resolution; corrects any number of scans."""

    def __init__(
        self,
        vois: Mapping[str, sitk.Image],
        grid: sitk.Image,
        fwhm_mm: float,
        geometry: _Geometry | None = None,
    ) -> None:
        geometry = geometry or _Geometry(vois, grid, fwhm_mm)
        self._all, self._vois = tuple(vois), geometry.vois
        if self._vois:
            names, regions = geometry.names, _with_shells(geometry, fwhm_mm)
            self._regions = regions
            self._sizes = np.array([float(np.sum(w, dtype=np.float64)) for w, _ in regions])
            self._matrix = _matrix(regions, self._sizes, geometry, fwhm_mm)
            bounds = _bounds(regions)
            self._shares = {
                name: _shares(*voi, names.index(name) if name in names else None, regions, bounds)
                for name, voi in self._vois.items()
            }

    def factors(self, spect: sitk.Image) -> dict[str, float]:
        """Return measured over corrected mean of each VOI; 1 where there is nothing to recover."""
        out = dict.fromkeys(self._all, 1.0)
        if not self._vois:
            return out
        values = array_of(spect)
        true = self._true(values)
        for name, (w, box) in self._vois.items():
            corrected = float(self._shares[name] @ true)
            measured = _mean(values[box], w)
            # A region without activity of its own has nothing to recover.
            usable = measured > 0 and corrected > 0.05 * measured
            out[name] = float(np.clip(measured / corrected, 0.05, 20.0)) if usable else 1.0
        return out

    def _true(self, values: np.ndarray) -> np.ndarray:
        """Return the corrected mean of each region.

        The regions fill the grid: the last, the largest, holds what the others leave of the total.
        """
        sums = [float(np.sum(values[box] * w, dtype=np.float64)) for w, box in self._regions[:-1]]
        sums.append(float(np.sum(values, dtype=np.float64)) - sum(sums))
        try:
            return np.linalg.solve(self._matrix, np.array(sums) / self._sizes)
        except np.linalg.LinAlgError:
            msg = "The regions cannot be told apart at this resolution; recovery 'gtm' needs larger or fewer VOIs."
            raise InputError(msg) from None


def _shares(
    w: np.ndarray, box: Box, own: int | None, regions: list[Part], bounds: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return how much of a VOI lies in each region, as fractions of the VOI.

    A voxel half inside the VOI is half of it, not a mixture of the VOI and what surrounds it: the
    VOI's own region (``own``) takes its part first, then the smaller VOIs inside it theirs.
    """
    order = _near(bounds, box)
    if own is not None:
        order.remove(own)
        order.insert(0, own)
    left = w.astype(np.float64)
    shares = np.zeros(len(regions))
    for number in order:
        region, place = regions[number]
        common = _common(place, box)
        here = _within(common, box)
        part = np.minimum(region[_within(common, place)], left[here])
        shares[number] = float(part.sum())
        left[here] -= part
    return shares / float(w.sum(dtype=np.float64))


def _disjoint(vois: Mapping[str, Part], shape: tuple[int, ...]) -> tuple[list[str], list[Part], np.ndarray]:
    """Return names and parts of the VOIs, smallest first, and what they leave of the grid.

    A VOI wholly inside smaller ones has no part.
    """
    left = np.ones(shape, np.float32)
    names, parts = [], []
    for name in sorted(vois, key=lambda name: float(vois[name][0].sum())):
        w, box = vois[name]
        part = np.minimum(w, left[box])
        if part.sum() > 0.5:
            left[box] -= part
            names.append(name)
            parts.append((part, box))
    return names, parts, left


def _distance(part: Part, shape: tuple[int, ...], spacing: np.ndarray, widest_mm: float) -> Part:
    from scipy.ndimage import distance_transform_edt

    weights, box = part
    margins = [int(np.ceil(m)) for m in (_SHELL_FWHM + 0.5) * widest_mm / spacing]
    wide = _widened(box, margins, shape)
    outside = np.ones([w.stop - w.start for w in wide], bool)
    outside[_within(box, wide)] = weights < 0.5
    return distance_transform_edt(outside, sampling=spacing).astype(np.float32), wide


def _blurred(region: Part, shape: tuple[int, ...], spacing: np.ndarray, fwhm_mm: float) -> Part:
    from scipy.ndimage import gaussian_filter

    weights, box = region
    sigma = fwhm_mm / _FWHM_PER_SIGMA / spacing
    wide = _widened(box, [int(np.ceil(_REACH_SIGMA * s)) for s in sigma], shape)
    field = np.zeros([w.stop - w.start for w in wide], np.float32)
    field[_within(box, wide)] = weights
    # The SPECT ends at the field of view: what is outside is taken to continue ("nearest").
    return gaussian_filter(field, sigma, mode="nearest", truncate=_REACH_SIGMA), wide


def _with_shells(geometry: _Geometry, fwhm_mm: float) -> list[Part]:
    """Return disjoint regions that fill the grid, as (weights in a box, box): VOIs, their shells, the rest.

    What lies around a VOI is its shell as far as no other VOI is nearer.
    """
    left, shells = geometry.left.copy(), []
    owner = np.where(geometry.nearest_mm < _SHELL_FWHM * fwhm_mm, geometry.owner, np.int16(-1))
    for i, wide in enumerate(geometry.around):
        shell = left[wide] * (owner[wide] == i)
        if shell.sum() > 0.5:
            shells.append((shell, wide))
    for shell, wide in shells:
        left[wide] -= shell
    rest = [(left[box], box) for box in (bounding_box(left),)] if left.sum() > 0.5 else []
    return geometry.parts + shells + rest


def _matrix(regions: list[Part], sizes: np.ndarray, geometry: _Geometry, fwhm_mm: float) -> np.ndarray:
    """Return the mean over each region (row) of the blurred indicator of each region (column).

    The regions fill the grid, and the last is the largest: its row is what the others leave of the whole
    blurred indicator, its column what they leave of one.
    """
    matrix = np.zeros((len(regions), len(regions)))
    low, high = (
        np.array([[getattr(s, end) for s in box] for _, box in regions]) for end in ("start", "stop")
    )
    for j, region in enumerate(regions[:-1]):
        field, wide = geometry.blurred(region, fwhm_mm)
        first, last = (np.array([getattr(s, end) for s in wide]) for end in ("start", "stop"))
        near = ((low < last) & (high > first)).all(axis=1)
        for i in np.flatnonzero(near[:-1]):
            other, place = regions[i]
            common = _common(place, wide)
            inside = other[_within(common, place)] * field[_within(common, wide)]
            matrix[i, j] = float(inside.sum())
        matrix[-1, j] = float(np.sum(field, dtype=np.float64)) - matrix[:-1, j].sum()
    matrix[:, :-1] /= sizes[:, None]
    matrix[:, -1] = 1.0 - matrix[:, :-1].sum(axis=1)
    return matrix


def _widened(box: Box, margins: Sequence[int], shape: tuple[int, ...]) -> Box:
    """Return a box widened by so many voxels on each side, within the grid."""
    return tuple(
        slice(max(0, b.start - m), min(size, b.stop + m))
        for b, m, size in zip(box, margins, shape, strict=True)
    )


def _bounds(regions: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first voxels of the boxes of regions, and those after the last, (n, 3) each."""
    boxes = [box for _, box in regions]
    first, after = ([[getattr(s, end) for s in box] for box in boxes] for end in ("start", "stop"))
    return np.array(first).reshape(-1, 3), np.array(after).reshape(-1, 3)


def _near(bounds: tuple[np.ndarray, np.ndarray], box: Box) -> list[int]:
    """Return which of the boxes with these bounds share voxels with a box."""
    first, after = bounds
    share = (first < [s.stop for s in box]) & (after > [s.start for s in box])
    return np.flatnonzero(share.all(axis=1)).tolist()


def _common(first: Box, second: Box) -> Box:
    """Return what two boxes that are near share."""
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def _within(box: Box, frame: Box) -> Box:
    """Return a box in the indices of a frame that holds it."""
    return tuple(slice(b.start - f.start, b.stop - f.start) for b, f in zip(box, frame, strict=True))
