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
    weights = np.zeros(shape)
    starts = np.concatenate(polygons) + 0.5
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons]) + 0.5
    low = max(int(np.floor(starts[:, 1].min())), 0)
    high = min(int(np.ceil(starts[:, 1].max())), rows)
    for row in range(low, high):
        levels = row + (np.arange(SUBLINES) + 0.5) / SUBLINES
        near = (np.minimum(starts[:, 1], ends[:, 1]) < row + 1) & (
            np.maximum(starts[:, 1], ends[:, 1]) >= row
        )
        if not near.any():
            continue
        a, b = starts[near], ends[near]
        for level in levels:
            crossing = (a[:, 1] <= level) != (b[:, 1] <= level)
            if crossing.any():
                p, q = a[crossing], b[crossing]
                x = np.sort(p[:, 0] + (level - p[:, 1]) / (q[:, 1] - p[:, 1]) * (q[:, 0] - p[:, 0]))
                weights[row] += _line_cover(x, columns)
    return np.clip(weights / SUBLINES, 0.0, 1.0)


def _line_cover(crossings: np.ndarray, columns: int) -> np.ndarray:
    """Return the covered length of each pixel of a line between each pair of crossings."""
    # The antiderivative of the cover, evaluated at the pixel edges, handles all pairs at once.
    edges = np.arange(columns + 1)
    begin, end = crossings[0::2], crossings[1::2]
    covered = np.clip(edges[:, None], begin[None, :], end[None, :]) - begin[None, :]
    return np.diff(covered.sum(axis=1))


def polygon_area(polygons: list[np.ndarray]) -> float:
    """Return the even-odd area of polygons in pixels, inside or outside the image."""
    points = np.concatenate(polygons)
    corner = np.floor(points.min(axis=0))
    size = np.ceil(points.max(axis=0) - corner).astype(int) + 2
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
