"""Images as the registration sees them: coarse, without table and noise, on a common scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import image_like, resample

if TYPE_CHECKING:
    import SimpleITK as sitk

# Soft tissue spans most of the range, because organs differ by tens of HU and lungs and bone by
# hundreds; air, lung and bone keep their order.
_HU = (-1000.0, -800.0, -200.0, -120.0, -80.0, 0.0, 100.0, 300.0, 1000.0)
_CT_VALUE = (0.0, 0.12, 0.25, 0.38, 0.42, 0.60, 0.85, 1.0, 1.15)


@dataclass(frozen=True)
class Prepared:
    """An image for the registration: ``value`` (0 to about 1), ``valid`` and ``body`` label maps."""

    value: sitk.Image
    valid: sitk.Image
    body: sitk.Image

    def cropped(self, margin_mm: float = 28.0) -> Prepared:
        """Return the box around the body; the air beyond it says nothing and costs most of the time."""
        import SimpleITK as sitk

        body = sitk.GetArrayViewFromImage(self.body) > 0
        margin = int(np.ceil(margin_mm / self.body.GetSpacing()[0]))
        box = []
        for axis in (2, 1, 0):
            where = np.flatnonzero(body.any(axis=tuple(i for i in range(3) if i != axis)))
            low, high = int(where[0]) - margin, int(where[-1]) + margin + 1
            box.append(slice(max(0, low), min(body.shape[axis], high)))
        return Prepared(self.value[tuple(box)], self.valid[tuple(box)], self.body[tuple(box)])


def working_grid(image: sitk.Image, spacing_mm: float, margin_mm: float = 0.0) -> sitk.Image:
    """Return an empty isotropic grid along the axes of ``image`` that covers it and a margin."""
    import SimpleITK as sitk

    extent = np.array(image.GetSize()) * np.array(image.GetSpacing()) + 2 * margin_mm
    size = np.maximum(8, np.ceil(extent / spacing_mm - 1e-6).astype(int))
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetDirection(image.GetDirection())
    middle = [(n - 1) / 2 for n in image.GetSize()]
    centre = np.array(image.TransformContinuousIndexToPhysicalPoint(middle))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid.SetOrigin((centre - direction @ ((size - 1) / 2 * spacing_mm)).tolist())
    return grid


def prepare_ct(ct: sitk.Image, grid: sitk.Image) -> Prepared:
    """Return a CT on the working grid: body only, Hounsfield units on the soft-tissue scale."""
    import SimpleITK as sitk
    from DoseSegmentationLib.classical import SegmentationError, body_outline

    value, valid = _on_grid(ct, grid, lowest=-1024.0)
    try:
        body = body_outline(value, working_mm=grid.GetSpacing()[0])
    except SegmentationError as error:
        raise InputError(f"The CT cannot be registered. {error}") from error
    # One voxel more than the outline: the skin must stay an edge.
    body = sitk.BinaryDilate(body, [1, 1, 1])
    hu = sitk.GetArrayFromImage(value)
    scaled = np.interp(hu, _HU, _CT_VALUE) * sitk.GetArrayViewFromImage(body)
    return Prepared(image_like(scaled, grid), valid, body)


def prepare_spect(spect: sitk.Image, grid: sitk.Image) -> Prepared:
    """Return a SPECT on the working grid, compressed (asinh) so that hot organs do not decide.

    The scale is relative to the image itself, which removes decay and most of the washout.
    """
    import SimpleITK as sitk
    from DoseSegmentationLib.classical import SegmentationError, body_outline_spect

    value, valid = _on_grid(spect, grid, lowest=0.0)
    value = sitk.SmoothingRecursiveGaussian(value, grid.GetSpacing()[0])
    try:
        body = body_outline_spect(value)
    except SegmentationError as error:
        raise InputError(f"The SPECT cannot be registered. {error}") from error
    array = np.clip(sitk.GetArrayFromImage(value), 0, None)
    inside = array[sitk.GetArrayViewFromImage(body) > 0]
    scale = float(np.median(inside[inside > 0])) if (inside > 0).any() else 1.0
    compressed = np.arcsinh(array / scale)
    compressed /= max(float(np.percentile(compressed[array > 0], 99.5)), 1e-6)
    return Prepared(image_like(compressed, grid), valid, sitk.BinaryDilate(body, [2, 2, 2]))


def _on_grid(image: sitk.Image, grid: sitk.Image, lowest: float) -> tuple[sitk.Image, sitk.Image]:
    """Return the image on the grid, ``lowest`` outside, and where it is defined."""
    import SimpleITK as sitk

    from TheranosticDoseLib.geometry import array_of

    if not np.isfinite(array_of(image)).all():
        clean = np.nan_to_num(array_of(image), nan=lowest, posinf=lowest, neginf=lowest)
        image = image_like(clean, image)
    moved = resample(image, grid, outside=np.nan)
    array = sitk.GetArrayFromImage(moved)
    valid = np.isfinite(array)
    if not valid.any():
        raise InputError("An image has no voxel on the grid of the registration; the scans do not overlap.")
    label = sitk.GetImageFromArray(valid.astype(np.uint8))
    label.CopyInformation(grid)
    return image_like(np.where(valid, array, lowest), grid), label


def fill_outside(first: sitk.Image, second: sitk.Image, overlap: np.ndarray) -> tuple[sitk.Image, sitk.Image]:
    """Return both images with the value of the nearest voxel of the overlap outside it.

    There the images then say the same thing about motion as at the rim of the common field of
    view, and the field is carried on smoothly instead of being pulled to zero.
    """
    import SimpleITK as sitk
    from scipy import ndimage

    if overlap.all():
        return first, second
    nearest = ndimage.distance_transform_edt(~overlap, return_distances=False, return_indices=True)
    index = tuple(nearest)
    return (
        image_like(sitk.GetArrayViewFromImage(first)[index], first),
        image_like(sitk.GetArrayViewFromImage(second)[index], second),
    )
