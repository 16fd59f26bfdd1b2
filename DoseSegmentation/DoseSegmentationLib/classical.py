"""Classical segmentation: thresholds, components, body outlines.

Images in (``SimpleITK.Image``, any grid), label maps out (uint8, 0 or 1, on the grid of the input).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.arrays import array_of, same_grid

if TYPE_CHECKING:
    import SimpleITK as sitk


class SegmentationError(ValueError):
    """The image or the parameters cannot give a segment; the text says why and what to change."""


def fixed_threshold(
    image: sitk.Image,
    lower: float,
    upper: float | None = None,
    *,
    region: sitk.Image | None = None,
    seed_mm: Sequence[float] | None = None,
) -> sitk.Image:
    """Return the voxels between ``lower`` and ``upper``.

    Parameters
    ----------
    image : SimpleITK.Image
        Scalar volume.
    lower, upper : float
        Inclusive limits in the unit of the image; no upper limit where ``upper`` is None.
    region : SimpleITK.Image, optional
        Label map on the same grid; voxels outside it stay 0.
    seed_mm : sequence of 3 floats, optional
        LPS point in mm; only the connected component that holds it is kept.

    Raises
    ------
    SegmentationError
        For an upper limit below the lower one, another grid, or a seed outside the segment.
    """
    if upper is not None and upper < lower:
        raise SegmentationError(f"The upper threshold {upper:g} lies below the lower one {lower:g}.")
    values = _array(image)
    inside = np.isfinite(values) & (values >= lower)
    if upper is not None:
        inside &= values <= upper
    if region is not None:
        inside &= _region_array(region, image)
    label = _label(inside, image)
    return label if seed_mm is None else connected_component(label, seed_mm)


def percent_of_maximum(
    image: sitk.Image,
    percent: float,
    *,
    region: sitk.Image | None = None,
    seed_mm: Sequence[float] | None = None,
    radius_mm: float = 30.0,
) -> sitk.Image:
    """Return the voxels above a percentage of the maximum.

    Parameters
    ----------
    image : SimpleITK.Image
        Scalar volume, for example Bq/mL.
    percent : float
        Of the maximum, above 0 and below 100 (40 to 50 % is usual for SPECT lesions).
    region : SimpleITK.Image, optional
        Label map; the maximum is looked for, and the segment kept, inside it.
    seed_mm : sequence of 3 floats, optional
        LPS point; without a region the maximum is the one within ``radius_mm`` of it, and only
        the component that holds that maximum is kept.
    radius_mm : float
        Of the sphere around the seed in which the maximum is looked for.

    Raises
    ------
    SegmentationError
        For a percentage out of range, an empty region, or an image without positive values there.
    """
    if not 0 < percent < 100:
        raise SegmentationError(f"The percentage of the maximum is {percent:g}; expected between 0 and 100.")
    values = np.where(np.isfinite(_array(image)), _array(image), -np.inf)
    search = np.ones(values.shape, bool) if region is None else _region_array(region, image)
    allowed = search
    if seed_mm is not None:
        search = search & _sphere(image, seed_mm, radius_mm)
    if not search.any():
        raise SegmentationError("The region in which the maximum is looked for holds no voxel of the image.")
    peak = np.unravel_index(np.argmax(np.where(search, values, -np.inf)), values.shape)
    if values[peak] <= 0:
        raise SegmentationError(
            "The image has no positive value in the region; there is no maximum to refer to."
        )
    label = _label((values >= percent / 100.0 * values[peak]) & allowed, image)
    if seed_mm is None:
        return label
    return connected_component(label, image.TransformIndexToPhysicalPoint([int(i) for i in peak[::-1]]))


def connected_component(label: sitk.Image, seed_mm: Sequence[float]) -> sitk.Image:
    """Return the face-connected component of a label map that holds a point (LPS, mm).

    Raises
    ------
    SegmentationError
        If the point lies outside the image or outside every component.
    """
    import SimpleITK as sitk

    index = index_of(label, seed_mm)
    components = sitk.ConnectedComponent(sitk.Cast(label != 0, sitk.sitkUInt8))
    number = components[index]
    if number == 0:
        raise SegmentationError(f"The seed {_text(seed_mm)} lies outside the segment; click inside it.")
    return sitk.Cast(components == number, sitk.sitkUInt8)


def body_outline(ct: sitk.Image, *, threshold_hu: float = -350.0, working_mm: float = 4.0) -> sitk.Image:
    """Return the body with its lungs, without the table, from a CT.

    The threshold is taken on a grid of about ``working_mm``, thin structures (table top, sheets,
    lines) are opened away, the large components kept, and cavities filled slice by slice.

    Parameters
    ----------
    ct : SimpleITK.Image
        Hounsfield units.
    threshold_hu : float
        Between air and soft tissue.
    working_mm : float
        Voxel size of the morphology; the outline is as exact as this.

    Raises
    ------
    SegmentationError
        If nothing in the image is denser than the threshold.
    """
    return _outline(ct, threshold_hu, working_mm, opening_mm=8.0, what=f"denser than {threshold_hu:g} HU")


def body_outline_spect(
    spect: sitk.Image, *, percent: float = 2.0, smoothing_mm: float = 12.0, working_mm: float = 6.0
) -> sitk.Image:
    """Return a coarse body outline from a SPECT: where the smoothed activity exceeds ``percent``.

    The percentage refers to the 99th percentile of the smoothed positive voxels, so that one hot
    organ does not decide.  It serves to initialise and to mask; it is no measured contour.

    Raises
    ------
    SegmentationError
        If the image holds no activity.
    """
    import SimpleITK as sitk

    image = sitk.Cast(spect, sitk.sitkFloat32)
    smooth = sitk.SmoothingRecursiveGaussian(_clean(image, 0.0), smoothing_mm / 2.355)
    values = sitk.GetArrayViewFromImage(smooth)
    positive = values[values > 0]
    if positive.size == 0:
        raise SegmentationError("The SPECT holds no activity; there is nothing to outline.")
    level = percent / 100.0 * float(np.percentile(positive, 99))
    return _outline(smooth, level, working_mm, opening_mm=0.0, what="with activity")


def _outline(image: sitk.Image, level: float, working_mm: float, opening_mm: float, what: str) -> sitk.Image:
    """Threshold on a coarse grid, open, keep the large components, fill slices, back to the grid."""
    import SimpleITK as sitk
    from scipy import ndimage

    factors = [max(1, int(working_mm / s + 0.5)) for s in image.GetSpacing()]
    lowest = float(np.nanmin(_array(image)))
    coarse = sitk.BinShrink(_clean(sitk.Cast(image, sitk.sitkFloat32), lowest), factors)
    inside = sitk.GetArrayFromImage(coarse) > level
    if opening_mm > 0:
        inside = ndimage.binary_opening(inside, _ball(coarse.GetSpacing(), opening_mm))
    inside = _large_components(inside)
    if not inside.any():
        raise SegmentationError(f"No body was found: no connected region of the image is {what}.")
    inside = ndimage.binary_closing(np.pad(inside, 2), _ball(coarse.GetSpacing(), 8.0))[2:-2, 2:-2, 2:-2]
    axis = _axial_axis(coarse)
    slices = np.moveaxis(inside, axis, 0)
    filled = np.stack([ndimage.binary_fill_holes(one) for one in slices])
    return _to_grid(_label(np.moveaxis(filled, 0, axis), coarse), image)


def _to_grid(coarse: sitk.Image, image: sitk.Image) -> sitk.Image:
    """Return a coarse label map on the grid of ``image``, smooth at the edge.

    The outermost coarse voxels are continued to the rim of the image, which linear interpolation
    leaves empty.
    """
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(image)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    label = resampler.Execute(sitk.Cast(coarse, sitk.sitkFloat32))
    return sitk.Cast(label > 0.5, sitk.sitkUInt8)


def _large_components(inside: np.ndarray, fraction: float = 0.1) -> np.ndarray:
    """Return the components of at least ``fraction`` of the largest (arms stay, dust goes)."""
    from scipy import ndimage

    labels, number = ndimage.label(inside)
    if number <= 1:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= fraction * sizes.max())[labels]


def _axial_axis(image: sitk.Image) -> int:
    """Return the array axis that runs closest to head-foot."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return 2 - int(np.argmax(np.abs(direction[2])))


def _ball(spacing: Sequence[float], radius_mm: float) -> np.ndarray:
    """Return a ball as a structuring element ``(z, y, x)``, at least one voxel wide."""
    radii = [max(1, int(np.floor(radius_mm / s))) for s in spacing][::-1]
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
    sz, sy, sx = tuple(spacing)[::-1]
    reach = max(radius_mm, max(spacing)) * 1.001
    return (z * sz) ** 2 + (y * sy) ** 2 + (x * sx) ** 2 <= reach**2


def _sphere(image: sitk.Image, centre_mm: Sequence[float], radius_mm: float) -> np.ndarray:
    """Return the voxels within a radius of a point; the point must lie inside the image."""
    index = index_of(image, centre_mm)[::-1]
    grids = np.ogrid[tuple(slice(0, n) for n in image.GetSize()[::-1])]
    spacing = image.GetSpacing()[::-1]
    distance2 = sum(((g - i) * s) ** 2 for g, i, s in zip(grids, index, spacing, strict=True))
    return distance2 <= radius_mm**2


def index_of(image: sitk.Image, point_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the voxel index ``(x, y, z)`` of an LPS point inside the image."""
    point = [float(value) for value in point_mm]
    if len(point) != 3 or not np.all(np.isfinite(point)):
        raise SegmentationError(f"The seed {point_mm!r} is not a point of three finite coordinates in mm.")
    index = image.TransformPhysicalPointToIndex(point)
    if any(i < 0 or i >= n for i, n in zip(index, image.GetSize(), strict=True)):
        raise SegmentationError(
            f"The seed {_text(point)} lies outside the image; check that it is LPS in mm."
        )
    return index


def _text(point: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in point) + ") mm"


def _array(image: sitk.Image) -> np.ndarray:

    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise SegmentationError("A three-dimensional image with one value per voxel is needed.")
    return array_of(image)


def _region_array(region: sitk.Image, image: sitk.Image) -> np.ndarray:
    if not same_grid(region, image):
        raise SegmentationError("The region is on another grid than the image; resample it first.")
    return _array(region) > 0


def _clean(image: sitk.Image, value: float) -> sitk.Image:
    """Return the image with its NaN and infinite voxels set to a value."""
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)
    if np.isfinite(values).all():
        return image
    clean = sitk.GetImageFromArray(np.where(np.isfinite(values), values, np.float32(value)))
    clean.CopyInformation(image)
    return clean


def _label(inside: np.ndarray, image: sitk.Image) -> sitk.Image:
    import SimpleITK as sitk

    label = sitk.GetImageFromArray(np.ascontiguousarray(inside, dtype=np.uint8))
    label.CopyInformation(image)
    return label
