"""Random bodies of tissue with sharp borders, and random activity in them.

A patient has few voxels where the tissues, and with them the ranges of the electrons, change next
to a high activity; these fields have little else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TISSUES = (
    ("lung", 0.34, (0.18, 0.50)),
    ("bone", 0.26, (1.15, 1.92)),
    ("adipose", 0.16, (0.92, 0.96)),
    ("soft", 0.18, (1.00, 1.08)),
    ("gas", 0.06, (0.0012, 0.0012)),
)
"""Name, share of the regions, range of the density in g/cm3."""
AIR_G_CM3 = 0.0012
SPACING_MM = (2.0, 5.0)


@dataclass(frozen=True)
class Case:
    """Activity in a body.

    Attributes
    ----------
    name : str
    tia, density : ndarray of float32, shape (z, y, x)
        MBq h per mL (its scale is free) and g/cm3.
    spacing_mm : tuple of float
        (x, y, z).
    """

    name: str
    tia: np.ndarray
    density: np.ndarray
    spacing_mm: tuple[float, float, float]


def random_field(seed: int, size: int = 32) -> Case:
    """Return a random field; the same seed gives the same one.

    Parameters
    ----------
    seed : int
    size : int
        Voxels along each axis.
    """
    rng = np.random.default_rng([seed, 41])
    spacing = np.exp(rng.uniform(*np.log(SPACING_MM))) * np.ones(3)
    if rng.random() < 0.4:
        spacing *= rng.uniform(0.8, 1.25, 3)
    spacing = np.clip(spacing, *SPACING_MM)
    axes = [(np.arange(size) - (size - 1) / 2) * step for step in spacing]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    reach = float(spacing.max()) * size / 2
    body = _smooth(rng, size, 0.3 * size) > rng.uniform(-1.6, -0.6)
    density = np.where(body, rng.uniform(1.0, 1.06), AIR_G_CM3)
    tia = np.where(body, 1.0 if rng.random() < 0.8 else 0.0, 0.0)
    names, shares, ranges = zip(*TISSUES, strict=True)
    for _ in range(int(rng.integers(4, 10))):
        inside = _shape(rng, place, reach, size) & body
        kind = int(rng.choice(len(names), p=shares))
        density[inside] = rng.uniform(*ranges[kind])
        uptake = 0.0 if names[kind] == "gas" or rng.random() < 0.2 else np.exp(rng.normal(0.0, 0.8))
        tia[inside] = uptake * density[inside]
    for _ in range(int(rng.integers(2, 7))):
        tia[_lesion(rng, place, body) & body] = np.exp(rng.uniform(np.log(3.0), np.log(25.0)))
    return Case(f"field_{seed:05d}", *_finished(rng, tia, density, size), tuple(map(float, spacing[::-1])))


def random_activity(seed: int, density: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return a random activity in a given body (a CT, say): regions, lesions and texture, MBq h per mL."""
    rng = np.random.default_rng([seed, 43])
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(density.shape, spacing_mm[::-1], strict=True)]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    body = density > 0.1
    tia = 0.3 * density * body
    for _ in range(int(rng.integers(8, 16))):
        where = _lesion(rng, place, body, (15.0, 45.0)) & body
        tia[where] = np.exp(rng.normal(0.0, 1.0)) * density[where]
    for _ in range(int(rng.integers(6, 16))):
        tia[_lesion(rng, place, body) & body] = np.exp(rng.uniform(np.log(2.0), np.log(30.0)))
    return tia.astype(np.float32)


def _finished(rng, tia: np.ndarray, density: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both as an image shows them: texture, borders from sharp to a voxel wide."""
    from scipy import ndimage

    if rng.random() < 0.6:
        tia = tia * np.exp(0.25 * _smooth(rng, size, rng.uniform(1.0, 4.0)))
    if rng.random() < 0.4:
        tia = ndimage.gaussian_filter(tia, rng.uniform(0.4, 1.6), mode="constant")
    density = density * np.exp(0.02 * rng.standard_normal(density.shape))
    if rng.random() < 0.5:
        density = ndimage.gaussian_filter(density, rng.uniform(0.3, 0.8))
    return np.maximum(tia, 0).astype(np.float32), np.maximum(density, AIR_G_CM3).astype(np.float32)


def _smooth(rng, size: int, width: float) -> np.ndarray:
    """Return a smooth random field of mean 0 and standard deviation 1."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.standard_normal((size,) * 3), width, mode="wrap")
    return (field - field.mean()) / max(float(field.std()), 1e-9)


def _shape(rng, place: np.ndarray, reach: float, size: int) -> np.ndarray:
    """Return an ellipsoid, a slab or a cloud."""
    kind = rng.random()
    if kind < 0.3:
        return _smooth(rng, size, rng.uniform(1.5, 5.0)) > rng.uniform(0.3, 1.2)
    center = rng.uniform(-reach, reach, 3)
    offset = place - center.reshape(3, 1, 1, 1)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    turned = np.tensordot(turn, offset, 1)
    if kind < 0.5:
        return np.abs(turned[0]) < rng.uniform(2.0, 0.4 * reach)
    axes = rng.uniform(0.12, 0.8, 3) * reach
    return np.sum((turned / axes.reshape(3, 1, 1, 1)) ** 2, axis=0) < 1


def _lesion(rng, place: np.ndarray, body: np.ndarray, radius_mm: tuple[float, float] = (3.0, 14.0)):
    """Return a ball around a random voxel of the body."""
    voxels = np.flatnonzero(body)
    index = int(rng.choice(voxels)) if voxels.size else 0
    center = place.reshape(3, -1)[:, index].reshape(3, 1, 1, 1)
    axes = rng.uniform(*radius_mm) * rng.uniform(0.7, 1.3, (3, 1, 1, 1))
    return np.sum(((place - center) / axes) ** 2, axis=0) < 1
