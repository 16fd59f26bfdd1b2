"""Rigid registration: exhaustive translation at a coarse level, then a gradient optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.registration.prepare import Prepared
from TheranosticDoseLib.registration.settings import RegistrationSettings

if TYPE_CHECKING:
    import SimpleITK as sitk

_SEARCH_MM = 16.0


def rigid_transform(
    fixed: Prepared, moving: Prepared, settings: RegistrationSettings
) -> sitk.Euler3DTransform:
    """Return the rigid transform, points of ``fixed`` to points of ``moving``.

    The metric sums over threads, so its last bits depend on their number; the parameters are
    rounded far below any meaning (1e-6 rad, 1e-6 mm) and the result does not.
    """
    import SimpleITK as sitk

    transform = sitk.Euler3DTransform()
    transform.SetCenter(_centre(fixed.body))
    transform.SetTranslation(best_translation(fixed, moving).tolist())
    for factor in (4, 2):
        registration = sitk.ImageRegistrationMethod()
        registration.SetMetricAsCorrelation()
        registration.SetMetricFixedMask(sitk.And(fixed.valid, sitk.BinaryDilate(fixed.body, [2, 2, 2])))
        registration.SetMetricMovingMask(moving.valid)
        registration.SetMetricSamplingStrategy(registration.REGULAR)
        # Each level looks at about as many points as its voxels hold independent information.
        registration.SetMetricSamplingPercentage(min(1.0, 4.0 / factor**3), settings.seed)
        registration.SetInterpolator(sitk.sitkLinear)
        registration.SetShrinkFactorsPerLevel([1])
        registration.SetSmoothingSigmasPerLevel([factor * fixed.value.GetSpacing()[0] / 2])
        registration.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
        registration.SetOptimizerAsRegularStepGradientDescent(
            learningRate=2.0 * factor,
            minStep=0.02,
            numberOfIterations=settings.rigid_iterations,
            gradientMagnitudeTolerance=1e-7,
        )
        registration.SetOptimizerScalesFromPhysicalShift()
        registration.SetInitialTransform(transform, inPlace=True)
        registration.Execute(fixed.value, moving.value)
        transform.SetParameters([round(value, 6) for value in transform.GetParameters()])
    return transform


def best_translation(fixed: Prepared, moving: Prepared) -> np.ndarray:
    """Return the translation (mm, LPS) of the best correlation over the common field of view.

    All shifts are tried at once by masked normalised correlation in Fourier space (Padfield 2012,
    doi 10.1109/TIP.2011.2181402): neither the table, nor another field of view, nor another table
    position misleads it, as centres of mass would.
    """
    import SimpleITK as sitk

    f, fm = _coarse(fixed, fixed.value)
    m, mm = _coarse(moving, fixed.value)
    correlation, overlap = _masked_correlation(
        sitk.GetArrayViewFromImage(f),
        sitk.GetArrayViewFromImage(fm) > 0.5,
        sitk.GetArrayViewFromImage(m),
        sitk.GetArrayViewFromImage(mm) > 0.5,
    )
    correlation = np.where(overlap >= 0.3 * overlap.max(), correlation, -1.0)
    peak = np.unravel_index(np.argmax(correlation), correlation.shape)
    shift = np.array(peak) - (np.array(f.GetSize()[::-1]) - 1)
    direction = np.array(f.GetDirection()).reshape(3, 3)
    offset = np.array(m.GetOrigin()) - np.array(f.GetOrigin())
    # A fixed voxel i looks like the moving voxel i + shift of the moving grid.
    return offset + direction @ (shift[::-1] * _SEARCH_MM)


def _coarse(image: Prepared, frame: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
    """Return value and validity on a coarse grid along the axes of ``frame``."""
    import SimpleITK as sitk

    corners = np.array(
        [
            image.value.TransformContinuousIndexToPhysicalPoint(
                [(-0.5, n - 0.5)[(k >> i) & 1] for i, n in enumerate(image.value.GetSize())]
            )
            for k in range(8)
        ]
    )
    direction = np.array(frame.GetDirection()).reshape(3, 3)
    along = corners @ direction
    low, high = along.min(axis=0), along.max(axis=0)
    size = np.maximum(2, np.ceil((high - low) / _SEARCH_MM).astype(int))
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([_SEARCH_MM] * 3)
    grid.SetDirection(frame.GetDirection())
    grid.SetOrigin((direction @ (low + _SEARCH_MM / 2)).tolist())
    smooth = sitk.SmoothingRecursiveGaussian(image.value, _SEARCH_MM / 2)
    value = sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat64)
    valid = sitk.Resample(image.valid, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return value, valid


def _masked_correlation(f, fm, m, mm):
    """Return correlation and overlap (voxels) for every shift, ``(z, y, x)``; index 0 is ``-(n_f - 1)``."""
    shape = [a + b - 1 for a, b in zip(f.shape, m.shape, strict=True)]
    f = np.where(fm, f, 0.0)
    m = np.where(mm, m, 0.0)
    fm, mm = fm.astype(float), mm.astype(float)

    def cross(a, b):
        # Sum over i of a[i] b[i + shift].
        product = np.fft.rfftn(b, shape, axes=(0, 1, 2)) * np.fft.rfftn(
            a[::-1, ::-1, ::-1], shape, axes=(0, 1, 2)
        )
        return np.fft.irfftn(product, shape, axes=(0, 1, 2))

    n = np.maximum(np.round(cross(fm, mm)), 1.0)
    sum_f, sum_m = cross(f, mm), cross(fm, m)
    covariance = cross(f, m) - sum_f * sum_m / n
    variance_f = np.clip(cross(f * f, mm) - sum_f**2 / n, 0, None)
    variance_m = np.clip(cross(fm, m * m) - sum_m**2 / n, 0, None)
    product = np.sqrt(variance_f * variance_m)
    floor = 1e-6 * float(product.max()) + 1e-30
    return np.where(product > floor, covariance / np.maximum(product, floor), -1.0), n


def _centre(body: sitk.Image) -> tuple[float, ...]:
    """Return the centre of the body label, mm."""
    import SimpleITK as sitk

    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(body)
    return statistics.GetCentroid(1)
