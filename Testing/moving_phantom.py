"""A CT-like torso of ellipsoids with a known smooth displacement, for the registration tests.

The moving image is *defined* through the displacement: ``moving(x + u(x)) = fixed(x)`` with the
analytic ``u``, so a perfect registration returns ``x -> x + u(x)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

# name, centre (x, y, z) mm, radii mm, HU
ORGANS = (
    ("lung_r", (-75, 0, 110), (55, 75, 95), -780.0),
    ("lung_l", (75, 0, 110), (55, 75, 95), -780.0),
    ("liver", (-70, -10, 5), (75, 80, 60), 62.0),
    ("spleen", (95, 35, 10), (30, 40, 48), 55.0),
    ("kidney_r", (-60, 55, -60), (27, 25, 52), 38.0),
    ("kidney_l", (60, 55, -50), (27, 25, 52), 38.0),
    ("bowel_gas", (30, -55, -70), (28, 18, 22), -700.0),
    ("spine", (0, 75, 0), (20, 22, 400), 320.0),
    ("aorta", (12, 40, 0), (11, 11, 400), 45.0),
    ("vessel", (-85, -25, 10), (14, 12, 30), 100.0),
)


@dataclass(frozen=True, eq=False)
class MovingPhantom:
    """Two CTs, the labels of the first and the true displacement."""

    fixed: sitk.Image
    moving: sitk.Image
    labels: dict[str, np.ndarray]
    rotation: np.ndarray
    offset: np.ndarray

    def truth(self, points: np.ndarray) -> np.ndarray:
        """Return where fixed points (n, 3) lie in the moving image."""
        return true_position(points, self.rotation, self.offset)


def breathing(points: np.ndarray, amplitude: float = 14.0) -> np.ndarray:
    """Return a smooth displacement: diaphragm motion that fades to the spine, and a twist."""
    y, z = points[..., 1], points[..., 2]
    fade = np.exp(-(((z - 10) / 110.0) ** 2)) / (1 + np.exp((y - 55) / 18.0))
    dz = -amplitude * fade
    dy = -0.35 * amplitude * fade
    dx = 4.0 * np.sin(z / 70.0) * np.exp(-((y / 90.0) ** 2))
    return np.stack([dx, dy, dz], axis=-1)


def true_position(points: np.ndarray, rotation: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return ``R (x + u(x)) + t``."""
    return (points + breathing(points)) @ rotation.T + offset


def _grid(size, spacing, shift=(0.0, 0.0, 0.0)):
    image = sitk.Image(list(size), sitk.sitkFloat32)
    image.SetSpacing(list(spacing))
    image.SetOrigin([-(n - 1) * s / 2 + d for n, s, d in zip(size, spacing, shift, strict=True)])
    return image


def points_of(image: sitk.Image) -> np.ndarray:
    """Return the voxel centres ``(z, y, x, 3)`` of an axis-aligned grid."""
    axes = [
        o + s * np.arange(n)
        for o, s, n in zip(image.GetOrigin(), image.GetSpacing(), image.GetSize(), strict=True)
    ]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([x, y, z], axis=-1)


def _inside(p, centre, radii, soft):
    d = np.sqrt(sum(((p[..., i] - centre[i]) / radii[i]) ** 2 for i in range(3)))
    return np.clip((1.0 - d) * min(radii) / soft + 0.5, 0, 1)


def _paint(p: np.ndarray, texture: np.ndarray, soft: float) -> np.ndarray:
    """Return HU at anatomical points ``p``."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    outer = np.sqrt((x / 185.0) ** 2 + (y / 125.0) ** 2)
    inner = np.sqrt((x / 165.0) ** 2 + (y / 105.0) ** 2)
    hu = np.full(x.shape, -1000.0)
    hu += np.clip((1 - outer) * 125 / soft + 0.5, 0, 1) * 900.0
    hu += np.clip((1 - inner) * 105 / soft + 0.5, 0, 1) * 120.0
    ribs = (np.abs(inner - 0.97) < 0.04) & (np.abs((z + 0.25 * np.abs(x)) % 36.0 - 18.0) < 5.0) & (z > -60)
    hu = np.where(ribs, 420.0, hu)
    for _, centre, radii, value in ORGANS:
        w = _inside(p, centre, radii, soft)
        hu = hu * (1 - w) + value * w
    return np.where(hu > -500, hu + texture, hu)


def moving_phantom(
    size=(96, 80, 72),
    spacing=(4.2, 4.2, 5.0),
    noise_hu=20.0,
    seed=1,
    angles_deg=(2.0, -1.5, 3.0),
    offset=(8.0, -5.0, 12.0),
    moving_size=None,
    moving_shift=(0.0, 0.0, 0.0),
    table=True,
) -> MovingPhantom:
    """Return a phantom; the moving image has its own table position, noise and field of view."""
    rng = np.random.default_rng(seed)
    rotation = sitk.Euler3DTransform((0, 0, 0), *np.deg2rad(angles_deg).tolist())
    rotation = np.array(rotation.GetMatrix()).reshape(3, 3)
    offset = np.array(offset, float)
    waves = [(rng.normal(0, 1 / 22.0, 3), rng.uniform(0, 6.28)) for _ in range(8)]

    def texture(p):
        return 6.0 * sum(np.sin(p @ k + phase) for k, phase in waves)

    def acquire(grid, anatomy, table_y, stream):
        hu = _paint(anatomy, texture(anatomy), float(np.mean(grid.GetSpacing())))
        p = points_of(grid)
        if table:
            bed = (np.abs(p[..., 1] - table_y) < 7.0) & (np.abs(p[..., 0]) < 200.0)
            hu = np.where(bed & (hu < -700), 80.0, hu)
        hu = hu + stream.normal(0, noise_hu, hu.shape)
        image = sitk.GetImageFromArray(hu.astype(np.float32))
        image.CopyInformation(grid)
        return image

    fixed_grid = _grid(size, spacing)
    moving_grid = _grid(moving_size or size, spacing, moving_shift)
    fixed_points = points_of(fixed_grid)
    back = (points_of(moving_grid) - offset) @ rotation
    anatomy = back.copy()
    for _ in range(15):
        anatomy = back - breathing(anatomy)
    labels = {name: _inside(fixed_points, c, r, 1e-3) > 0.5 for name, c, r, _ in ORGANS}
    labels["liver"] &= ~labels["vessel"]
    return MovingPhantom(
        acquire(fixed_grid, fixed_points, 135.0, np.random.default_rng(seed + 1)),
        acquire(moving_grid, anatomy, 142.0, np.random.default_rng(seed + 2)),
        labels,
        rotation,
        offset,
    )
