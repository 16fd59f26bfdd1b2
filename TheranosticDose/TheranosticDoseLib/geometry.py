"""Images and grids: numpy views, resampling that watches the total, grid checks.

Volumes are ``SimpleITK.Image`` float32 in LPS and mm; arrays are ``(z, y, x)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from DoseSegmentationLib.arrays import array_of, same_grid

from TheranosticDoseLib.errors import ActivityConservationError, GeometryError

if TYPE_CHECKING:
    import SimpleITK as sitk


def image_like(array: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Return a float32 image of ``array`` ``(z, y, x)`` on the grid of ``grid``."""
    import SimpleITK as sitk

    if array.shape != grid.GetSize()[::-1]:
        msg = f"An array of shape {array.shape} does not fit a grid of size {grid.GetSize()} (x, y, z)."
        raise GeometryError(msg)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    image.CopyInformation(grid)
    return image


def voxel_volume_ml(image: sitk.Image) -> float:
    """Return the volume of one voxel, mL."""
    return float(np.prod(image.GetSpacing())) / 1000.0


def total_activity_mbq(concentration_bq_ml: sitk.Image) -> float:
    """Return the activity in the field of view, MBq, of an image in Bq/mL."""
    total = float(np.sum(array_of(concentration_bq_ml), dtype=np.float64))
    return total * voxel_volume_ml(concentration_bq_ml) * 1e-6


def require_same_grid(first: sitk.Image, second: sitk.Image, what: str) -> None:
    """Raise a :class:`GeometryError` that says ``what`` and both grids where they differ."""
    if same_grid(first, second):
        return

    def text(image: sitk.Image) -> str:
        spacing = " x ".join(f"{value:.4g}" for value in image.GetSpacing())
        origin = ", ".join(f"{value:.4g}" for value in image.GetOrigin())
        return f"size {image.GetSize()}, spacing {spacing} mm, origin ({origin}) mm"

    msg = f"{what} are on different grids: {text(first)} against {text(second)}. Resample one to the other."
    raise GeometryError(msg)


def resample(
    image: sitk.Image,
    grid: sitk.Image,
    transform: sitk.Transform | None = None,
    *,
    order: str = "linear",
    outside: float = 0.0,
) -> sitk.Image:
    """Return ``image`` on the grid of ``grid``.

    A grid much coarser than the image is filled by the mean of the samples within
    each voxel, not by one interpolated point, so that density and VOI weights
    keep their totals.

    Parameters
    ----------
    image, grid : SimpleITK.Image
        What to resample and where to.
    transform : SimpleITK.Transform, optional
        Maps points of ``grid`` to points of ``image`` (the SimpleITK convention).
    order : {"linear", "nearest", "bspline"}
        Interpolation.
    outside : float
        Value where the image has none.

    Returns
    -------
    SimpleITK.Image
        float32.
    """
    import SimpleITK as sitk

    interpolator = {
        "linear": sitk.sitkLinear,
        "nearest": sitk.sitkNearestNeighbor,
        "bspline": sitk.sitkBSpline,
    }
    if order not in interpolator:
        msg = f"order must be linear, nearest or bspline, not {order!r}"
        raise ValueError(msg)
    transform = sitk.Transform(3, sitk.sitkIdentity) if transform is None else transform
    source = sitk.Cast(image, sitk.sitkFloat32)
    factors = [max(1, round(g / s)) for g, s in zip(grid.GetSpacing(), image.GetSpacing(), strict=True)]
    if order == "nearest" or max(factors) == 1:
        return sitk.Resample(source, grid, transform, interpolator[order], float(outside), sitk.sitkFloat32)
    fine = _refined(grid, factors)
    sampled = sitk.Resample(source, fine, transform, interpolator[order], float(outside), sitk.sitkFloat32)
    return sitk.BinShrink(sampled, factors)


def _refined(grid: sitk.Image, factors: list[int]) -> sitk.Image:
    """Return an empty grid whose voxels are ``factors`` times finer; the outer faces stay where they are."""
    import SimpleITK as sitk

    fine = sitk.Image([int(n * f) for n, f in zip(grid.GetSize(), factors, strict=True)], sitk.sitkUInt8)
    fine.SetSpacing([s / f for s, f in zip(grid.GetSpacing(), factors, strict=True)])
    fine.SetDirection(grid.GetDirection())
    offset = [0.5 / f - 0.5 for f in factors]
    fine.SetOrigin(grid.TransformContinuousIndexToPhysicalPoint(offset))
    return fine


def resample_activity(
    concentration_bq_ml: sitk.Image,
    grid: sitk.Image,
    transform: sitk.Transform | None = None,
    *,
    tolerance: float,
    what: str,
) -> tuple[sitk.Image, dict[str, float]]:
    """Resample a concentration and compare the total activity before and after.

    Parameters
    ----------
    concentration_bq_ml : SimpleITK.Image
        Bq/mL.
    grid, transform
        As in :func:`resample`.
    tolerance : float
        Largest accepted relative change of the total.
    what : str
        Named in the error.

    Returns
    -------
    image : SimpleITK.Image
    record : dict
        ``before_mbq``, ``after_mbq``, ``relative_change``.

    Raises
    ------
    ActivityConservationError
        If the change is larger than ``tolerance``.
    """
    before = total_activity_mbq(concentration_bq_ml)
    image = resample(concentration_bq_ml, grid, transform)
    after = total_activity_mbq(image)
    change = (after - before) / before if before > 0 else 0.0
    if abs(change) > tolerance:
        msg = (
            f"{what}: resampling changed the total activity from {before:.2f} to {after:.2f} MBq "
            f"({100 * change:+.1f} %, tolerance {100 * tolerance:.1f} %). "
            "Part of the activity lies outside the reference field of view, or the registration is wrong."
        )
        raise ActivityConservationError(msg)
    return image, {"before_mbq": before, "after_mbq": after, "relative_change": change}
