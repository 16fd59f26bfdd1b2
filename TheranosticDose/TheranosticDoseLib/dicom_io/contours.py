"""Closed planar contours to fractional voxel weights.

Within a slice the covered area of each pixel is found by even-odd filling along
``SUBLINES`` lines per pixel, exact along the line.  Even-odd serves disjoint contours,
holes as inner contours (XOR) and holes cut through a keyhole alike.  Across slices a
contour stands for a slab of the distance between contour planes.
"""

from __future__ import annotations

import numpy as np

SUBLINES = 16


def covered_fraction(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the fraction of each pixel inside the polygons, even-odd.

    Parameters
    ----------
    polygons : list of (N, 2) ndarray
        Vertices (x, y) in pixel indices; pixel centres have whole numbers.
    shape : (rows, columns)

    Returns
    -------
    ndarray of shape ``shape``, float64, 0 to 1
    """
    rows, columns = shape
    start = np.concatenate(polygons) + 0.5
    end = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons]) + 0.5
    low = max(int(np.floor(start[:, 1].min())), 0)
    high = min(int(np.ceil(start[:, 1].max())), rows)
    weights = np.zeros(shape)
    if high <= low:
        return weights
    line, edge = _crossings(start[:, 1], end[:, 1], low, (high - low) * SUBLINES)
    p, q = start[edge], end[edge]
    level = low + (line + 0.5) / SUBLINES
    x = p[:, 0] + (level - p[:, 1]) / (q[:, 1] - p[:, 1]) * (q[:, 0] - p[:, 0])
    # Closed polygons cross each line an even number of times: sorted along the line, the
    # interior begins at the even crossings and ends at the odd ones.
    order = np.lexsort((x, line))
    row, x = line[order] // SUBLINES, np.clip(x[order], 0.0, columns)
    sign = np.tile([1.0, -1.0], x.size // 2)
    # A beginning at x covers 1 - frac(x) of its pixel and all pixels behind it: the cumulative
    # sum of these two terms along the row.
    pixel = np.minimum(x.astype(int), columns)
    flat, rest = row * (columns + 2) + pixel, x - pixel
    size = (high - low) * (columns + 2)
    terms = np.bincount(flat, sign * (1.0 - rest), size) + np.bincount(flat + 1, sign * rest, size)
    cover = np.cumsum(terms.reshape(high - low, columns + 2), axis=1)[:, :columns] / SUBLINES
    weights[low:high] = np.clip(cover, 0.0, 1.0)
    return weights


def _crossings(start: np.ndarray, end: np.ndarray, low: int, lines: int) -> tuple[np.ndarray, np.ndarray]:
    """Return line and edge of every crossing; line ``i`` lies at ``low + (i + 0.5) / SUBLINES``.

    An edge crosses the lines from its lower end, included, to its upper end, excluded, so that
    a vertex on a line counts once.
    """
    ends = np.ceil((np.sort([start, end], axis=0) - low) * SUBLINES - 0.5).astype(int)
    first, stop = np.clip(ends, 0, lines)
    count = stop - first
    edge = np.repeat(np.arange(start.size), count)
    before = np.repeat(np.cumsum(count) - count, count)
    return np.arange(edge.size) - before + first[edge], edge


def polygon_area(polygons: list[np.ndarray], shape: tuple[int, int], inside: float) -> float:
    """Return the even-odd area of polygons in pixels, also where they reach out of the image.

    ``inside`` is the area within the image of ``shape``, which is all of it for most.
    """
    points = np.concatenate(polygons)
    low, high = points.min(axis=0), points.max(axis=0)
    if low.min() >= -0.5 and high[0] <= shape[1] - 0.5 and high[1] <= shape[0] - 0.5:
        return inside
    corner = np.floor(low)
    size = np.minimum(np.ceil(high - corner).astype(int) + 2, 20_000)
    return float(covered_fraction([polygon - corner for polygon in polygons], (size[1], size[0])).sum())


def slab_weights(planes: np.ndarray, thickness: float, slices: int) -> np.ndarray:
    """Return how much of each slice each contour plane stands for.

    Parameters
    ----------
    planes : (P,) ndarray
        Slice index (continuous) of each contour plane, ascending.
    thickness : float
        Of a slab, in slices.
    slices : int
        Number of slices of the grid.

    Returns
    -------
    (P, slices) ndarray, 0 to 1
    """
    lower, upper = planes - thickness / 2, planes + thickness / 2
    index = np.arange(slices)
    overlap = np.minimum(upper[:, None], index + 0.5) - np.maximum(lower[:, None], index - 0.5)
    return np.clip(overlap, 0.0, 1.0)


def plane_distance(planes: np.ndarray) -> float:
    """Return the usual distance between contour planes in slices: whole slices unless they lie denser or askew."""
    if planes.size < 2:
        return 1.0
    steps = np.diff(planes)
    step = float(np.median(steps))
    return 1.0 if abs(step - 1.0) < 0.05 else step
