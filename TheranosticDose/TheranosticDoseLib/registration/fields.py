"""Displacement fields: Jacobian, inverse, and what is done about folding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk


def jacobian(field: sitk.Image) -> np.ndarray:
    """Return the Jacobian determinant ``(z, y, x)`` of ``x -> x + u(x)``; ``field`` in mm."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))


def smooth_field(field: sitk.Image, sigma_mm: float) -> sitk.Image:
    """Return the field smoothed by a Gaussian."""
    import SimpleITK as sitk

    return sitk.SmoothingRecursiveGaussian(field, sigma_mm)


def without_folding(
    field: sitk.Image, floor: float = 0.05, rounds: int = 20
) -> tuple[sitk.Image, int, float]:
    """Return the field smoothed until its Jacobian is nowhere below ``floor``.

    Returns
    -------
    field : SimpleITK.Image
    rounds : int
        Number of smoothings that were needed; 0: the field was fine.
    fraction : float
        Fraction of voxels below ``floor`` before.
    """
    sigma = float(min(field.GetSpacing()))
    before = float(np.mean(jacobian(field) < floor))
    for done in range(rounds):
        if not (jacobian(field) < floor).any():
            return field, done, before
        field = smooth_field(field, sigma * (1.0 + 0.5 * done))
    return vector_like(np.zeros((*field.GetSize()[::-1], 3)), field), rounds, before


def invert_field(field: sitk.Image, iterations: int = 15) -> sitk.Image:
    """Return ``v`` with ``x + v(x)`` the inverse of ``x + u(x)``, by fixed-point iteration.

    ``v <- -u(x + v)`` converges for a field without folding whose gradient stays below one
    (Chen 2008, doi 10.1118/1.2816107); the residual is what ``inverse_consistency`` measures.
    """
    import SimpleITK as sitk

    inverse = np.zeros(sitk.GetArrayViewFromImage(field).shape)
    for _ in range(iterations):
        # Damped, because the plain iteration oscillates where the shear is strong.
        inverse = 0.25 * inverse - 0.75 * _warped(field, inverse)
    return vector_like(inverse, field)


def residual(field: sitk.Image, inverse: sitk.Image) -> np.ndarray:
    """Return ``|v(x) + u(x + v(x))|`` in mm ``(z, y, x)``: how far the two are from inverse."""
    import SimpleITK as sitk

    back = sitk.GetArrayFromImage(inverse)
    return np.linalg.norm(back + _warped(field, back), axis=-1)


def _warped(field: sitk.Image, displacement: np.ndarray) -> np.ndarray:
    """Return ``u(x + v(x))`` with ``u`` the field, continued at the rim, and ``v`` the displacement."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(field)
    resampler.SetTransform(sitk.DisplacementFieldTransform(vector_like(displacement, field)))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    return sitk.GetArrayFromImage(resampler.Execute(field))


def vector_like(array: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Return a float64 vector image of ``array`` ``(z, y, x, 3)`` on the grid of ``grid``."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float64), isVector=True)
    image.CopyInformation(grid)
    return image


def inverse_transform(transform: sitk.Transform) -> sitk.Transform:
    """Return the inverse of a transform of ``register``: points of the moving scan to the reference.

    Parameters
    ----------
    transform : SimpleITK.Transform
        Identity, rigid, or rigid after a displacement field.
    """
    import SimpleITK as sitk

    if transform.GetTransformEnum() != sitk.sitkComposite:
        return transform.GetInverse()
    parts = sitk.CompositeTransform(transform)
    rigid, displacement = parts.GetNthTransform(0), parts.GetNthTransform(1)
    field = sitk.DisplacementFieldTransform(displacement).GetDisplacementField()
    inverse = sitk.DisplacementFieldTransform(invert_field(field))
    return sitk.CompositeTransform([inverse, rigid.GetInverse()])
