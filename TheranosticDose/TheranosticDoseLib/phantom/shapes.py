"""Shapes in a warped space: ellipsoids that do not look like ellipsoids, and smooth random fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[slice, slice, slice]


def smooth_field(shape: tuple[int, ...], spacing_mm: float, wavelength_mm: float, rng: np.random.Generator):
    """Return a random field ``(z, y, x)`` of mean 0 and deviation 1 whose bumps are ``wavelength_mm`` long."""
    if min(shape) == 0:
        return np.zeros(shape, np.float32)
    step = wavelength_mm / 2.0
    coarse = [int(np.ceil(n * spacing_mm / step)) + 4 for n in shape]
    coefficients = rng.standard_normal(coarse).astype(np.float32)
    for axis, n in enumerate(shape):
        positions = 1.5 + np.arange(n, dtype=np.float64) * spacing_mm / step
        coefficients = _spline_along(coefficients, positions, axis)
    coefficients -= coefficients.mean(dtype=np.float64)
    coefficients /= max(float(coefficients.std(dtype=np.float64)), 1e-6)
    return coefficients.astype(np.float32)


def _spline_along(coefficients: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Return the uniform cubic B-spline at ``positions`` of one axis.

    A sum of four terms in a fixed order, not a matrix product: the same bits on every machine.
    """
    first = np.floor(positions).astype(int)
    shape = [1] * coefficients.ndim
    shape[axis] = positions.size
    total = np.float32(0.0)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(positions - (first + offset))
        weight = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, (2 - distance) ** 3 / 6)
        index = np.clip(first + offset, 0, coefficients.shape[axis] - 1)
        total = total + weight.astype(np.float32).reshape(shape) * np.take(coefficients, index, axis=axis)
    return total


@dataclass
class Space:
    """A grid with the coordinates of each voxel in the undeformed anatomy.

    Attributes
    ----------
    origin_mm : tuple of float
        Centre of the first voxel ``(x, y, z)``, mm, LPS.
    spacing_mm : float
        Isotropic voxel.
    x, y, z : numpy.ndarray
        ``(z, y, x)`` coordinates in the undeformed anatomy, mm; that is position plus a smooth random field.
    slack_mm : float
        Largest size of that field: how much a box is widened.
    """

    origin_mm: tuple[float, float, float]
    spacing_mm: float
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    slack_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(z, y, x)``."""
        return self.x.shape

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, mL."""
        return self.spacing_mm**3 / 1000.0

    def box(self, center: tuple[float, float, float], reach_mm: float) -> tuple[Box, bool]:
        """Return the slices around ``center`` (LPS, mm) and whether they are cut by the grid."""
        slices, cut = [], False
        reach = reach_mm + self.slack_mm
        for axis in (2, 1, 0):
            low = int(np.floor((center[axis] - reach - self.origin_mm[axis]) / self.spacing_mm))
            high = int(np.ceil((center[axis] + reach - self.origin_mm[axis]) / self.spacing_mm)) + 1
            n = self.shape[2 - axis]
            cut |= low < 0 or high > n
            slices.append(slice(min(max(low, 0), n), max(min(high, n), 0)))
        return tuple(slices), cut

    def ellipsoid(self, center, radii, tilt_deg=(0.0, 0.0, 0.0), power=2.2, widen=1.5):
        """Return the box and the level (1 on the surface) of a rotated superellipsoid.

        Parameters
        ----------
        center, radii : tuple of float
            LPS, mm.
        tilt_deg : tuple of float
            Rotation about x, y and z, degrees.
        power : float
            2 an ellipsoid, more: a box with round corners.
        widen : float
            The box holds levels up to at least this.

        Returns
        -------
        box : tuple of slice
        level : numpy.ndarray
        cut : bool
            Whether the grid cuts the box.
        """
        box, cut = self.box(center, widen * max(radii))
        d = [self.x[box] - center[0], self.y[box] - center[1], self.z[box] - center[2]]
        rotation = rotation_matrix(tilt_deg).T
        level = np.zeros(d[0].shape, np.float32)
        for row, radius in zip(rotation, radii, strict=True):
            along = (row[0] * d[0] + row[1] * d[1] + row[2] * d[2]) / np.float32(radius)
            level += np.abs(along) ** np.float32(power)
        return box, level ** np.float32(1.0 / power), cut


def rotation_matrix(angles_deg) -> np.ndarray:
    """Return the rotation about x, then y, then z by these angles, degrees."""
    a, b, c = np.deg2rad(angles_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


def level_of_volume(level: np.ndarray, allowed: np.ndarray, voxels: int) -> float:
    """Return the level below which ``voxels`` of the allowed voxels lie (at most all of them)."""
    values = level[allowed]
    if values.size == 0 or voxels <= 0:
        return 0.0
    voxels = min(voxels, values.size)
    return float(np.partition(values, voxels - 1)[voxels - 1])
