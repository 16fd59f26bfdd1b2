"""Images as they come: checked, turned to LPS, cropped to the body, resampled, and back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.arrays import array_of
from DoseSegmentationLib.classical import SegmentationError, body_outline, body_outline_spect

if TYPE_CHECKING:
    import SimpleITK as sitk

AIR_HU = -1024.0
METAL_HU = 3000.0
LARGE_VOXELS = 512 * 512 * 500


@dataclass(frozen=True)
class Inputs:
    """Checked images.

    Attributes
    ----------
    ct, spect : SimpleITK.Image or None
        float32, finite, as they lie in the scanner; the SPECT is on its own grid.
    notes : tuple of str
        What was unusual about them.
    """

    ct: sitk.Image | None
    spect: sitk.Image | None
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> sitk.Image:
        """The image on whose grid the label map will be: the CT, else the SPECT."""
        return self.spect if self.ct is None else self.ct


def read_image(path: str | Path) -> sitk.Image:
    """Return a volume of any format that SimpleITK reads.

    Raises
    ------
    SegmentationError
        If the file is missing or no image; the text names it.
    """
    import SimpleITK as sitk

    path = Path(path)
    if path.is_dir():
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
        if not names:
            raise SegmentationError(f"{path}: the folder holds no DICOM series.")
        return sitk.ReadImage(names)
    if not path.is_file():
        raise SegmentationError(f"{path}: there is no such file.")
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise SegmentationError(f"{path}: this is no image that can be read ({_last(error)}).") from error


def checked(ct: sitk.Image | None, spect: sitk.Image | None) -> Inputs:
    """Return the images as float32 with finite voxels, and what is unusual about them.

    Raises
    ------
    SegmentationError
        For no image at all, a wrong dimension, a constant image, a CT that is not in HU, or images
        that do not overlap in space.
    """
    if ct is None and spect is None:
        raise SegmentationError("Neither a CT nor a SPECT was given; there is nothing to segment.")
    notes: list[str] = []
    ct = None if ct is None else _finite(ct, "CT", AIR_HU, notes)
    spect = None if spect is None else _finite(spect, "SPECT", 0.0, notes)
    if ct is not None:
        _check_ct(ct, notes)
    if ct is None:
        notes.append("No CT was given: structures that need one are left out.")
    elif spect is not None:
        _check_overlap(ct, spect)
    return Inputs(ct, spect, tuple(notes))


def _finite(image: sitk.Image, what: str, value: float, notes: list[str]) -> sitk.Image:
    import SimpleITK as sitk

    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise SegmentationError(
            f"The {what} has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} "
            "values per voxel; a volume with one value per voxel is needed."
        )
    if min(image.GetSize()) < 4:
        raise SegmentationError(
            f"The {what} has the size {image.GetSize()}; at least 4 voxels a side are needed."
        )
    image = sitk.Cast(image, sitk.sitkFloat32)
    values = sitk.GetArrayViewFromImage(image)
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad == values.size or float(np.nanmax(values)) == float(np.nanmin(values)):
        raise SegmentationError(f"The {what} is empty: all its voxels are equal or not finite.")
    if bad:
        clean = sitk.GetImageFromArray(np.nan_to_num(values, nan=value, posinf=value, neginf=value))
        clean.CopyInformation(image)
        notes.append(f"{bad} voxels of the {what} are not finite and were taken as {value:g}.")
        return clean
    return image


def _check_ct(ct: sitk.Image, notes: list[str]) -> None:
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(ct)
    lowest, highest = float(values.min()), float(values.max())
    if lowest >= 0 and highest > 200:
        raise SegmentationError(
            f"The CT has values from {lowest:g} to {highest:g}; Hounsfield units reach below 0. "
            "Apply its rescale slope and intercept."
        )
    if highest - lowest < 100:
        raise SegmentationError(
            f"The CT has values from {lowest:g} to {highest:g} HU only; there is no anatomy in it."
        )
    metal = float(np.count_nonzero(values > METAL_HU)) * float(np.prod(ct.GetSpacing())) / 1000.0
    if metal > 0.5:
        notes.append(
            f"{metal:.1f} mL of the CT are above {METAL_HU:g} HU (metal): contours near it are uncertain."
        )
    extent = [n * s for n, s in zip(ct.GetSize(), ct.GetSpacing(), strict=True)]
    if min(extent) < 60:
        notes.append(f"The CT covers only {min(extent):.0f} mm along one axis; structures will be cut.")
    if values.size > LARGE_VOXELS:
        notes.append(
            f"The CT is large ({'x'.join(map(str, ct.GetSize()))}): it is cropped to the body and tiled."
        )


def _check_overlap(ct: sitk.Image, spect: sitk.Image) -> None:
    low, high = zip(*(_box_mm(image) for image in (ct, spect)), strict=True)
    if np.any(np.min(high, axis=0) <= np.max(low, axis=0)):
        raise SegmentationError(
            "The CT and the SPECT do not overlap in space; check that they belong together and their origins."
        )


def _box_mm(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    size = image.GetSize()
    corners = [
        image.TransformContinuousIndexToPhysicalPoint([(n - 1) * f for n, f in zip(size, (i, j, k), strict=True)])
        for i in (0, 1) for j in (0, 1) for k in (0, 1)
    ]  # fmt: skip
    return np.min(corners, axis=0), np.max(corners, axis=0)


def working_grid(
    image: sitk.Image,
    spacing_mm: Sequence[float] | None,
    body: sitk.Image | None = None,
    margin_mm: float = 10.0,
) -> sitk.Image:
    """Return the empty grid on which a network works: LPS axes, its spacing, cropped to the body.

    Parameters
    ----------
    image : SimpleITK.Image
        Any orientation, oblique too.
    spacing_mm : sequence of 3 floats, optional
        ``(x, y, z)``; ``None`` keeps that of the image turned to LPS.
    body : SimpleITK.Image, optional
        Label map on the grid of ``image``; the box of it is kept with a margin.
    """
    import SimpleITK as sitk

    turned = sitk.DICOMOrient(image if body is None else body, "LPS")
    if spacing_mm is None:
        spacing_mm = turned.GetSpacing()
    low, high = _box_mm(turned if body is None else _bounding_box(turned))
    pad = 0.0 if body is None else margin_mm
    whole_low, whole_high = _box_mm(turned)
    low, high = np.maximum(low - pad, whole_low), np.minimum(high + pad, whole_high)
    # On the image's own lattice: where the spacing is equal nothing is interpolated.
    step = np.array(turned.GetSpacing())
    low = whole_low + np.floor((low - whole_low) / step + 1e-6) * step
    spacing = np.asarray(spacing_mm, float)
    size = np.maximum(1, np.floor((high - low) / spacing + 1.0 + 1e-6)).astype(int)
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([float(s) for s in spacing])
    grid.SetOrigin([float(v) for v in low])
    return grid


def finer(grid: sitk.Image, factor: int) -> sitk.Image:
    """Return the empty grid of the same extent whose voxels are a whole factor smaller along each axis."""
    import SimpleITK as sitk

    first = [(1.0 / factor - 1.0) / 2.0] * 3
    made = sitk.Image([n * factor for n in grid.GetSize()], sitk.sitkUInt8)
    made.SetSpacing([s / factor for s in grid.GetSpacing()])
    made.SetDirection(grid.GetDirection())
    made.SetOrigin(grid.TransformContinuousIndexToPhysicalPoint(first))
    return made


def _bounding_box(label: sitk.Image) -> sitk.Image:
    values = array_of(label) > 0
    if not values.any():
        return label
    ranges = []
    for axis in (2, 1, 0):
        inside = np.flatnonzero(values.any(axis=tuple(a for a in range(3) if a != axis)))
        ranges.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return label[ranges[0], ranges[1], ranges[2]]


def region_of(box: Sequence[slice], grid: sitk.Image, reference: sitk.Image) -> tuple[slice, ...]:
    """Return the part ``(x, y, z)`` of an image that a box ``(z, y, x)`` of another grid covers, and a rim.

    Parameters
    ----------
    box : sequence of slice
        As ``scipy.ndimage.find_objects`` gives it.
    grid, reference : SimpleITK.Image
        Where the box is, and where the part is wanted.
    """
    corners = [(s.start - 1.5, s.stop + 0.5) for s in box][::-1]
    points = [
        reference.TransformPhysicalPointToContinuousIndex(
            grid.TransformContinuousIndexToPhysicalPoint(corner)
        )
        for corner in np.array(np.meshgrid(*corners)).reshape(3, -1).T.tolist()
    ]
    size = np.array(reference.GetSize())
    low = np.clip(np.floor(np.min(points, axis=0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(np.max(points, axis=0)) + 1, low + 1, size).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def body_of(inputs: Inputs) -> tuple[sitk.Image | None, str]:
    """Return the body on the reference grid, and a note; ``None`` where no outline was found."""
    try:
        body = body_outline_spect(inputs.spect) if inputs.ct is None else body_outline(inputs.ct)
    except SegmentationError as error:
        return None, f"The images were not cropped to the body: {error}"
    return body, ""


def resampled(image: sitk.Image, grid: sitk.Image, outside: float, *, nearest: bool = False) -> sitk.Image:
    """Return an image on another grid; where the grid is coarser, low-pass filtered first."""
    import SimpleITK as sitk

    if not nearest:
        ratio = [g / s for g, s in zip(grid.GetSpacing(), _lps_spacing(image, grid), strict=True)]
        if max(ratio) > 1.5:
            sigma = [
                max(0.35 * (r - 1.0), 0.0) * s for r, s in zip(ratio, _lps_spacing(image, grid), strict=True)
            ]
            image = sitk.DiscreteGaussian(image, [float(v) ** 2 for v in _own_axes(sigma, image)])
    mode = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    return sitk.Resample(image, grid, sitk.Transform(), mode, float(outside), image.GetPixelID())


def _lps_spacing(image: sitk.Image, grid: sitk.Image) -> list[float]:
    """Return the spacing of ``image`` along the axes of the (LPS) grid."""
    axes = _axes(image)
    return [image.GetSpacing()[axes.index(i)] for i in range(3)]


def _own_axes(values: Sequence[float], image: sitk.Image) -> list[float]:
    return [values[axis] for axis in _axes(image)]


def _axes(image: sitk.Image) -> list[int]:
    """Return for each axis of the image the LPS axis it runs along, each once."""
    direction = np.abs(np.array(image.GetDirection()).reshape(3, 3))
    axes, free = [0, 0, 0], [0, 1, 2]
    for column in np.argsort(-direction.max(axis=0)):
        axes[column] = max(free, key=lambda row: direction[row, column])
        free.remove(axes[column])
    return axes


def _last(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
