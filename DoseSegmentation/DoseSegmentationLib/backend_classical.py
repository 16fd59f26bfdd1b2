"""The backend without a network: body, lungs and bone from the CT, hot regions from the SPECT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from DoseSegmentationLib.classical import SegmentationError
from DoseSegmentationLib.inputs import Inputs, body_of, region_of, resampled, working_grid
from DoseSegmentationLib.segmentation import (
    Progress,
    Segmentation,
    origin_of,
    record_of,
    report,
    wanted,
)

if TYPE_CHECKING:
    import SimpleITK as sitk

NAME = "classical"
VERSION = "1"
STRUCTURES = ("Body", "Lung left", "Lung right", "Bone", "Hot regions")
DESCRIPTION = (
    "Thresholds and shapes, no network: body, lungs and bone from the CT; from the SPECT every region that "
    "is hotter than its surroundings, tumor or not, for the user to name or delete."
)
WORKING_MM = 3.0


def available() -> tuple[bool, str]:
    """Return whether the backend can run, and why not."""
    return True, ""


def segment(
    inputs: Inputs,
    structures: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    bone_hu: float = 125.0,
    lung_hu: float = -400.0,
    hot_factor: float = 4.0,
    hot_fraction: float = 0.42,
    smallest_ml: float = 1.0,
) -> Segmentation:
    """Segment without a network.

    Parameters
    ----------
    inputs : Inputs
    structures : sequence of str, optional
        Of :data:`STRUCTURES`.
    progress : callable, optional
    bone_hu, lung_hu : float
        Lower limit of bone and upper limit of lung, HU.
    hot_factor : float
        A hot region's maximum is at least so many times the mean of the body.
    hot_fraction : float
        Its border lies at this fraction between its surroundings and its maximum.
    smallest_ml : float
        Smaller hot regions are dropped.

    Raises
    ------
    SegmentationError
        If a structure is asked for whose image is missing.
    """
    import SimpleITK as sitk

    names = list(wanted(structures, STRUCTURES, NAME))
    for name, image, what in (("Hot regions", inputs.spect, "SPECT"), ("Lung left", inputs.ct, "CT"),
                              ("Lung right", inputs.ct, "CT"), ("Bone", inputs.ct, "CT")):  # fmt: skip
        if name in names and image is None:
            if structures:
                raise SegmentationError(f"{name} cannot be segmented without a {what}.")
            names.remove(name)
    report(progress, 0.05, "Body outline")
    body, note = body_of(inputs)
    if body is None:
        raise SegmentationError(note)
    found: list[tuple[str, np.ndarray]] = []
    if "Body" in names:
        found.append(("Body", sitk.GetArrayFromImage(body) > 0))
    if {"Lung left", "Lung right"} & set(names):
        report(progress, 0.3, "Lungs")
        found += [entry for entry in _lungs(inputs.ct, body, lung_hu) if entry[0] in names]
    if "Bone" in names:
        report(progress, 0.5, "Bone")
        found.append(("Bone", _bone(inputs.ct, body, bone_hu)))
    if "Hot regions" in names:
        report(progress, 0.7, "Hot regions")
        found += _hot_regions(inputs, body, hot_factor, hot_fraction, smallest_ml)
    report(progress, 1.0, "Segmented")
    return painted(found, inputs.reference, NAME, VERSION)


def painted(
    found: Sequence[tuple[str, np.ndarray]], grid: sitk.Image, backend: str, version: str, **more: Any
) -> Segmentation:
    """Return masks as one label map; a later mask lies over an earlier one (the body is the ground)."""
    import SimpleITK as sitk

    labels = np.zeros(grid.GetSize()[::-1], np.uint16 if len(found) > 255 else np.uint8)
    origin, records = origin_of(backend, version), []
    for number, (name, mask) in enumerate(found, start=1):
        labels[mask] = number
        records.append(record_of(name, number, origin))
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(grid)
    notes = tuple(more.pop("notes", ()))
    if len(records) > 1 and any(record.kind == "body" for record in records):
        notes += ("A voxel has one label: Body holds what no other segment took.",)
    return Segmentation(image, tuple(records), notes, **more)


def _on(mask: np.ndarray, coarse: sitk.Image, fine: sitk.Image) -> np.ndarray:
    """Return a mask of the working grid on the grid of the image, smooth at its edge."""
    import SimpleITK as sitk
    from scipy import ndimage

    out = np.zeros(fine.GetSize()[::-1], bool)
    box = next(iter(ndimage.find_objects(mask.astype(np.uint8))), None)
    if box is None:
        return out
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    image.CopyInformation(coarse)
    part = region_of(box, coarse, fine)
    # Continued beyond the last voxel centres, or the outermost slices of the image would stay empty.
    share = sitk.Resample(image, fine[part], sitk.Transform(), sitk.sitkLinear, 0.0, image.GetPixelID(), True)
    out[part[::-1]] = sitk.GetArrayViewFromImage(share) > 0.5
    return out


def _lungs(ct: sitk.Image, body: sitk.Image, lung_hu: float) -> list[tuple[str, np.ndarray]]:
    """Return both lungs: air in the body, in large parts, split where it is thinnest."""
    import SimpleITK as sitk
    from scipy import ndimage

    grid = working_grid(ct, [WORKING_MM] * 3, body)
    values = sitk.GetArrayFromImage(resampled(ct, grid, -1024.0))
    inside = sitk.GetArrayFromImage(resampled(body, grid, 0, nearest=True)) > 0
    air = (values < lung_hu) & ndimage.binary_erosion(inside, iterations=2, border_value=1)
    air &= ~_gas(values, inside)
    # Continued beyond the image, so that lungs that the image cuts keep their last slices.
    opened = ndimage.binary_opening(np.pad(air, 2, mode="edge"))[2:-2, 2:-2, 2:-2]
    parts, number = ndimage.label(opened)
    sizes = np.bincount(parts.ravel()) * WORKING_MM**3 / 1000.0
    # What is left of gas is small or as empty as air.
    keep = sizes > 10.0
    keep[1:] &= np.atleast_1d(ndimage.median(values, parts, np.arange(1, number + 1))) > -920.0
    keep[0] = False
    lungs = keep[parts]
    lungs = ndimage.binary_closing(np.pad(lungs, 3, mode="edge"), iterations=2)[3:-3, 3:-3, 3:-3] & inside
    if not lungs.any():
        return []
    columns = np.flatnonzero(inside.any(axis=(0, 1)))
    middle = int(columns[0] + columns[-1]) // 2
    side = _split(lungs, middle)
    return [
        (name, _on(side == which, grid, ct)) for name, which in (("Lung right", 1), ("Lung left", 2))
        if (side == which).any()
    ]  # fmt: skip


def _gas(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return gas of stomach, bowel and airways with its blurred rim: emptier than lung, in one piece."""
    from scipy import ndimage

    empty = (ndimage.gaussian_filter(values, 0.8) < -930.0) & inside
    parts, _ = ndimage.label(ndimage.binary_opening(empty))
    sizes = np.bincount(parts.ravel()) * WORKING_MM**3 / 1000.0
    sizes[0] = 0
    core = (sizes > 2.0)[parts]
    return ndimage.binary_dilation(core, iterations=3) if core.any() else core


def _split(lungs: np.ndarray, middle: int) -> np.ndarray:
    """Return 1 in the right lung and 2 in the left one (x grows to the left of the patient)."""
    from scipy import ndimage

    for steps in range(5):
        core = ndimage.binary_erosion(lungs, iterations=steps) if steps else lungs
        parts, number = ndimage.label(core)
        sizes = np.bincount(parts.ravel())
        large = [p for p in range(1, number + 1) if sizes[p] > 0.1 * sizes[1:].sum()]
        centres = {p: ndimage.center_of_mass(parts == p)[2] for p in large}
        sides = {p: 1 if c < middle else 2 for p, c in centres.items()}
        if len(set(sides.values())) == 2:
            markers = np.zeros(lungs.shape, np.uint8)
            for part, side in sides.items():
                markers[parts == part] = side
            nearest = ndimage.distance_transform_edt(
                markers == 0, return_distances=False, return_indices=True
            )
            return np.where(lungs, markers[tuple(nearest)], 0)
    return _cut(lungs, middle)


def _cut(lungs: np.ndarray, middle: int) -> np.ndarray:
    """Return the same of what no erosion parts: one lung, or two that the thinnest plane near the middle parts."""
    area = np.count_nonzero(lungs, axis=(0, 1))
    right, left = area[:middle].sum(), area[middle:].sum()
    if min(right, left) < 0.2 * area.sum():
        return np.where(lungs, 1 if right > left else 2, 0)
    reach = max(1, len(area) // 10)
    plane = middle - reach + int(np.argmin(area[middle - reach : middle + reach]))
    return np.where(lungs, np.where(np.arange(len(area)) < plane, 1, 2), 0)


def _bone(ct: sitk.Image, body: sitk.Image, bone_hu: float) -> np.ndarray:
    """Return bone with its marrow: dense voxels in connected pieces, holes filled slice by slice."""
    import SimpleITK as sitk
    from scipy import ndimage

    step = max(WORKING_MM, min(ct.GetSpacing()))
    grid = working_grid(ct, [step] * 3, body)
    values = ndimage.gaussian_filter(sitk.GetArrayFromImage(resampled(ct, grid, -1024.0)), 2.0 / step)
    inside = sitk.GetArrayFromImage(resampled(body, grid, 0, nearest=True)) > 0
    # Two levels: what is above the lower one counts where it hangs on something surely bone.
    dense = (values > bone_hu) & inside
    parts, number = ndimage.label(dense)
    sure = np.unique(parts[values > bone_hu + 100.0])
    sizes = np.bincount(parts.ravel()) * step**3 / 1000.0
    keep = np.zeros(number + 1, bool)
    keep[sure] = True
    keep &= sizes > 1.0
    keep[0] = False
    bone = ndimage.binary_closing(np.pad(keep[parts], 3, mode="edge"), iterations=2)[3:-3, 3:-3, 3:-3]
    bone = np.stack([ndimage.binary_fill_holes(one) for one in bone]) & inside
    # A ring of ribs closed by noise must not fill the thorax.
    bone &= (values > -50.0) & ~ndimage.binary_opening(bone & (values < 0.5 * bone_hu), iterations=6)
    return _on(bone, grid, ct)


def _hot_regions(
    inputs: Inputs, body: sitk.Image, factor: float, fraction: float, smallest_ml: float
) -> list[tuple[str, np.ndarray]]:
    """Return the hot regions, the largest activity first."""
    import SimpleITK as sitk
    from scipy import ndimage

    spect = inputs.spect
    values = sitk.GetArrayFromImage(spect)
    spacing = np.array(spect.GetSpacing()[::-1])
    inside = sitk.GetArrayFromImage(resampled(body, spect, 0, nearest=True)) > 0
    if not inside.any() or values[inside].mean() <= 0:
        return []
    mean = float(values[inside].mean())
    smooth = ndimage.gaussian_filter(values, 3.0 / spacing)
    # Maxima closer than the resolution of the camera are one region.
    window = np.maximum(3, 2 * np.round(12.0 / spacing).astype(int) + 1)
    peaks = (smooth == ndimage.maximum_filter(smooth, tuple(window))) & (smooth > factor * mean) & inside
    markers, number = ndimage.label(peaks, np.ones((3, 3, 3)))
    if number == 0:
        return []
    image = sitk.GetImageFromArray(-smooth)
    seeds = sitk.GetImageFromArray(markers.astype(np.uint32))
    basins = sitk.GetArrayFromImage(sitk.MorphologicalWatershedFromMarkers(image, seeds, False))
    regions = []
    for basin in range(1, number + 1):
        region = _grown(smooth, basins == basin, markers == basin, fraction, mean)
        volume = float(region.sum() * spacing.prod() / 1000.0)
        if volume >= smallest_ml:
            regions.append((float(values[region].sum()), region))
    regions.sort(key=lambda entry: -entry[0])
    return [
        (f"Hot region {number}", _on(region, spect, inputs.reference))
        for number, (_, region) in enumerate(regions, start=1)
    ]


def _grown(
    values: np.ndarray, basin: np.ndarray, peak: np.ndarray, fraction: float, mean: float
) -> np.ndarray:
    """Return the part of a basin above the background-corrected threshold that holds the peak."""
    from scipy import ndimage

    top = float(values[peak].max())
    low = min(float(np.percentile(values[basin], 20)), mean)
    parts, _ = ndimage.label(basin & (values >= low + fraction * (top - low)))
    return parts == parts[tuple(np.argwhere(peak)[0])]
