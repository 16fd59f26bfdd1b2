"""Deformable registration: diffeomorphic demons over levels (docs/adr/0002)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from TheranosticDoseLib.progress import Progress, report
from TheranosticDoseLib.registration.fields import without_folding
from TheranosticDoseLib.registration.prepare import Prepared, fill_outside

if TYPE_CHECKING:
    import SimpleITK as sitk


def deformable_field(
    fixed: Prepared,
    moving: Prepared,
    rigid: sitk.Transform,
    iterations: tuple[int, ...],
    smoothing_mm: float,
    progress: Progress | None = None,
) -> tuple[sitk.Image, int, float]:
    """Return the displacement field (mm, on the grid of ``fixed``) that follows the rigid transform.

    ``rigid(x + u(x))`` is the point of the moving image for the reference point ``x``.

    Returns
    -------
    field : SimpleITK.Image
        Vector float64, without folding.
    rounds : int
        Smoothings needed to remove folding (0: none was there).
    folded : float
        Fraction of folded voxels before them.
    """
    import SimpleITK as sitk

    grid = fixed.value
    moved = sitk.Resample(moving.value, grid, rigid, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    seen = sitk.Resample(moving.valid, grid, rigid, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    overlap = (sitk.GetArrayViewFromImage(fixed.valid) > 0) & (sitk.GetArrayViewFromImage(seen) > 0)
    first, second = fill_outside(fixed.value, moved, overlap)
    field = None
    for level, count in enumerate(iterations):
        report(progress, level / len(iterations), "Deformable registration")
        factor = 2 ** (len(iterations) - 1 - level)
        field = _level(first, second, field, factor, count, smoothing_mm)
    return without_folding(extended(field, grid))


def _level(first, second, field, factor, count, smoothing_mm):
    """Return the field after one level of demons at ``factor`` times the finest voxel size."""
    import SimpleITK as sitk

    if factor > 1:
        sigma = 0.5 * factor * first.GetSpacing()[0]
        first, second = (
            _shrink(sitk.SmoothingRecursiveGaussian(image, sigma), factor) for image in (first, second)
        )
    if field is not None:
        field = extended(field, first)
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(count)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(max(0.5, smoothing_mm / first.GetSpacing()[0]))
    demons.SetSmoothUpdateField(False)
    demons.SetMaximumUpdateStepLength(1.0)
    demons.SetMaximumRMSError(0.0)
    demons.SetIntensityDifferenceThreshold(1e-4)
    demons.SetUseGradientType(demons.Symmetric)
    if field is None:
        return demons.Execute(first, second)
    return demons.Execute(first, second, field)


def _shrink(image, factor):
    import SimpleITK as sitk

    return sitk.Shrink(image, [int(min(factor, max(1, n // 8))) for n in image.GetSize()])


def extended(field: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Return the field on another grid, continued beyond its rim by the value there."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(grid)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    resampler.SetOutputPixelType(sitk.sitkVectorFloat64)
    return resampler.Execute(field)


def field_transform(rigid: sitk.Transform, field: sitk.Image, grid: sitk.Image) -> sitk.Transform:
    """Return ``x -> rigid(x + u(x))`` as one transform, without a jump anywhere on ``grid``."""
    import SimpleITK as sitk

    displacement = sitk.DisplacementFieldTransform(extended(field, grid))
    return sitk.CompositeTransform([rigid, displacement])
