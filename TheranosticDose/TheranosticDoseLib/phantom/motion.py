"""Breathing, posture and bladder filling between time points, as smooth invertible displacement fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.phantom.settings import PhantomSettings
from TheranosticDoseLib.phantom.shapes import rotation_matrix, smooth_field

if TYPE_CHECKING:
    import SimpleITK as sitk

INVERSION_TOLERANCE_MM = 0.05


@dataclass(frozen=True)
class Motion:
    """Where the reference anatomy is at a time point.

    Attributes
    ----------
    forward : SimpleITK.Image
        Vector image, mm: a point ``x`` of the reference lies at ``x + forward(x)``.
    inverse : SimpleITK.Image
        Vector image, mm: what is at ``y`` comes from ``y + inverse(y)`` of the reference.
    parameters : dict
        What was drawn.
    inversion_error_mm : float
        Largest distance between a point and its forward and backward image.
    """

    forward: sitk.Image
    inverse: sitk.Image
    parameters: dict[str, Any]
    inversion_error_mm: float

    def jacobian_of_inverse(self) -> sitk.Image:
        """Return the volume of reference tissue per volume at the time point."""
        import SimpleITK as sitk

        return sitk.DisplacementFieldJacobianDeterminant(self.inverse)


def no_motion(grid: sitk.Image) -> Motion:
    """Return the motion of the reference time point itself."""
    import SimpleITK as sitk

    zero = sitk.Image(grid.GetSize(), sitk.sitkVectorFloat64, 3)
    zero.CopyInformation(grid)
    return Motion(zero, zero, {}, 0.0)


def draw_motion(
    grid: sitk.Image,
    moving: np.ndarray,
    bladder_mm: tuple[float, float, float],
    settings: PhantomSettings,
    rng: np.random.Generator,
) -> Motion:
    """Draw the motion of one time point.

    Parameters
    ----------
    grid : SimpleITK.Image
        Grid of the fields (coarser than the truth grid; the fields are smooth).
    moving : numpy.ndarray
        ``(z, y, x)`` on ``grid``: how much of the breathing each point follows, 0 to 1.
    bladder_mm : tuple of float
        Centre of the bladder, LPS.
    settings : PhantomSettings
    rng : numpy.random.Generator

    Returns
    -------
    Motion
    """
    z, y, x = _points(grid)
    parameters = {
        "breathing_mm": float(settings.breathing_mm * rng.choice((-1.0, 1.0)) * rng.uniform(0.3, 1.0)),
        "rotation_deg": [float(v) for v in settings.rotation_deg * rng.uniform(-1, 1, 3) * (0.6, 0.6, 1.0)],
        "translation_mm": [float(v) for v in settings.translation_mm * rng.uniform(-1, 1, 3)],
        "bladder_radial": float(rng.uniform(-0.12, 0.15)) if settings.bladder_filling else 0.0,
    }
    breathing = parameters["breathing_mm"]
    reach = 1.0 / (1.0 + np.exp(-(z + 235.0) / 50.0))
    field = np.zeros((3, *x.shape), np.float32)
    field[2] = -breathing * moving * reach
    # The belly goes out where the diaphragm goes down.
    front = np.clip(-y / 110.0, 0.0, 1.0) ** 2
    field[1] = -0.45 * breathing * front * np.exp(-(((z + 150.0) / 110.0) ** 2))
    field += 0.06 * abs(breathing) * moving * _wobble(x.shape, grid.GetSpacing()[0], rng)
    field += _bladder(x, y, z, bladder_mm, parameters["bladder_radial"])
    center = np.array([0.0, 20.0, -150.0], np.float32)
    rotation = (rotation_matrix(parameters["rotation_deg"]) - np.eye(3)).astype(np.float32)
    points = np.stack([x - center[0], y - center[1], z - center[2]]) + field
    field += np.tensordot(rotation, points, 1)
    field += np.array(parameters["translation_mm"], np.float32)[:, None, None, None]
    return _motion(field, grid, parameters)


def _points(grid: sitk.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    origin, spacing, size = grid.GetOrigin(), grid.GetSpacing(), grid.GetSize()
    axes = [origin[i] + spacing[i] * np.arange(size[i], dtype=np.float32) for i in range(3)]
    return np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")


def _wobble(shape, spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random field of three components: organs do not all move alike."""
    return np.stack([smooth_field(shape, spacing_mm, 150.0, rng) for _ in range(3)])


def _bladder(x, y, z, center_mm, radial: float) -> np.ndarray:
    """Return the radial displacement of a bladder that is fuller (or emptier) than on the reference."""
    d = np.stack([x - center_mm[0], y - center_mm[1], z - center_mm[2]])
    return radial * d * np.exp(-np.sum((d / 55.0) ** 2, axis=0))


def _motion(field: np.ndarray, grid: sitk.Image, parameters: dict[str, Any]) -> Motion:
    """Return the motion of a forward field ``(3, z, y, x)`` with its inverse by fixed-point iteration."""
    forward = vector_image(np.moveaxis(field, 0, -1), grid)
    inverse = vector_image(-np.moveaxis(field, 0, -1), grid)
    for _ in range(12):
        inverse, error = _inversion_step(forward, inverse)
        if error < INVERSION_TOLERANCE_MM:
            break
    return Motion(forward, inverse, parameters, error)


def _inversion_step(forward: sitk.Image, inverse: sitk.Image) -> tuple[sitk.Image, float]:
    """Return the next iterate of ``v(y) = -u(y + v(y))`` and the largest step, mm."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(forward)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.UseNearestNeighborExtrapolatorOn()
    resampler.SetTransform(sitk.DisplacementFieldTransform(sitk.Image(inverse)))
    following = -sitk.GetArrayFromImage(resampler.Execute(forward))
    step = following - sitk.GetArrayViewFromImage(inverse)
    # The rim extrapolates; only points that stay on the grid can be judged.
    inner = step[4:-4, 4:-4, 4:-4]
    return vector_image(following, forward), float(np.abs(inner).max()) if inner.size else 0.0


def vector_image(vectors: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Return a vector image of an array ``(z, y, x, 3)`` on the grid of ``grid``."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors, dtype=np.float64), isVector=True)
    image.CopyInformation(grid)
    return image


def transform_of(field: sitk.Image) -> sitk.Transform:
    """Return the transform of a displacement field (the field itself stays as it is)."""
    import SimpleITK as sitk

    return sitk.DisplacementFieldTransform(sitk.Image(field))
