"""Lesions from one click: adaptive threshold, watershed, fuzzy c-means, region growing.

Each takes a SPECT (or any image in which the lesion is brighter than its surroundings) and an LPS
point in it, looks within ``radius_mm`` of the point, and gives a label map on the grid of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.classical import SegmentationError, index_of

if TYPE_CHECKING:
    import SimpleITK as sitk


def adaptive_threshold(
    image: sitk.Image,
    seed_mm: Sequence[float],
    *,
    fraction: float = 0.5,
    radius_mm: float = 40.0,
    shell_mm: float = 10.0,
    iterations: int = 20,
) -> sitk.Image:
    """Return the segment above a threshold between the lesion and the background around it.

    The threshold is ``background + fraction (signal - background)``, the signal being the mean of the
    voxels above 70 % of the maximum and the background the mean in a shell around the segment; it
    is iterated until the segment stays (contrast-oriented method of Schaefer et al., Eur J Nucl Med
    Mol Imaging 2008;35:1989, with a fixed fraction).

    Parameters
    ----------
    image : SimpleITK.Image
    seed_mm : sequence of 3 floats
        LPS point in the lesion, mm.
    fraction : float
        Above 0 and below 1; 0.5 is the edge of an object that is large against the resolution.
    radius_mm : float
        Nothing farther from the seed belongs to the lesion.
    shell_mm : float
        Thickness of the shell; it starts as far from the segment, beyond most of the blur.

    Raises
    ------
    SegmentationError
        For a seed outside the image, or a lesion that does not stand out from its surroundings.
    """
    from scipy import ndimage

    if not 0 < fraction < 1:
        raise SegmentationError(f"The fraction is {fraction:g}; expected between 0 and 1.")

    def segment(part: sitk.Image, values: np.ndarray, near: np.ndarray, peak: tuple[int, ...]) -> np.ndarray:
        spacing = part.GetSpacing()[::-1]
        level = fraction * values[peak]
        inside = _component((values >= level) & near, peak)
        for _ in range(iterations):
            distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
            shell = (distance > shell_mm) & (distance <= 2 * shell_mm)
            # Neighboring hot organs are no background: the median ignores them up to a half.
            background = float(np.median(values[shell])) if shell.any() else 0.0
            signal = float(values[(values >= 0.7 * values[peak]) & inside].mean())
            level = background + fraction * (signal - background)
            following = _component((values >= level) & near, peak)
            if np.array_equal(following, inside):
                break
            inside = following
        return inside

    return _around(image, seed_mm, radius_mm, segment)


def watershed(image: sitk.Image, seed_mm: Sequence[float], *, radius_mm: float = 40.0) -> sitk.Image:
    """Return the segment whose border runs along the largest gradient between lesion and surroundings.

    Markers: above 70 % of the peak inside; outside, below 25 % of the peak or beyond the radius.

    Raises
    ------
    SegmentationError
        As :func:`adaptive_threshold`.
    """
    import SimpleITK as sitk

    def segment(part: sitk.Image, values: np.ndarray, near: np.ndarray, peak: tuple[int, ...]) -> np.ndarray:
        # On half voxels: the border is a surface between voxels, not a layer of them.
        fine = sitk.Expand(part, [2, 2, 2], sitk.sitkLinear)
        close = np.kron(near, np.ones((2, 2, 2))) > 0
        intensity = sitk.GetArrayFromImage(fine)
        low, high = float(np.percentile(values[near], 5)), values[peak]
        start = tuple(2 * i for i in peak)
        markers = np.zeros(intensity.shape, np.uint8)
        markers[(intensity <= low + 0.25 * (high - low)) | ~close] = 2
        markers[_component((intensity >= low + 0.7 * (high - low)) & close, start)] = 1
        image_of_markers = sitk.GetImageFromArray(markers)
        image_of_markers.CopyInformation(fine)
        gradient = sitk.GradientMagnitudeRecursiveGaussian(fine, 0.75 * float(min(part.GetSpacing())))
        basins = sitk.MorphologicalWatershedFromMarkers(gradient, image_of_markers, markWatershedLine=False)
        share = sitk.GetArrayFromImage(sitk.BinShrink(sitk.Cast(basins == 1, sitk.sitkFloat32), [2, 2, 2]))
        return _component(share >= 0.5, peak)

    return _around(image, seed_mm, radius_mm, segment)


def fuzzy_c_means(
    image: sitk.Image,
    seed_mm: Sequence[float],
    *,
    classes: int = 2,
    spatial: float = 1.0,
    radius_mm: float = 30.0,
    iterations: int = 60,
) -> sitk.Image:
    """Return the brightest class of a fuzzy clustering in which neighbors vote (Chuang et al. 2006).

    Parameters
    ----------
    image, seed_mm, radius_mm
        As in :func:`adaptive_threshold`.
    classes : int
        2 to 5 classes of brightness.
    spatial : float
        Exponent of the neighborhood's mean membership; 0: each voxel for itself.

    Raises
    ------
    SegmentationError
        As :func:`adaptive_threshold`, or for a number of classes out of range.
    """
    from scipy import ndimage

    if not 2 <= classes <= 5:
        raise SegmentationError(f"The number of classes is {classes}; expected 2 to 5.")

    def segment(part: sitk.Image, values: np.ndarray, near: np.ndarray, peak: tuple[int, ...]) -> np.ndarray:
        centers = np.linspace(np.percentile(values[near], 10), values[peak], classes)
        scale = max(float(np.ptp(values)), 1e-12)
        for _ in range(iterations):
            distance = ((values[None] - centers[:, None, None, None]) / scale) ** 2 + 1e-9
            membership = (1 / distance) / (1 / distance).sum(axis=0)
            neighborhood = np.stack([ndimage.uniform_filter(one, 3) for one in membership])
            membership = membership * neighborhood**spatial
            membership /= membership.sum(axis=0)
            weight = np.where(near, membership, 0.0) ** 2
            following = (weight * values).sum(axis=(1, 2, 3)) / weight.sum(axis=(1, 2, 3))
            moved = float(np.max(np.abs(following - centers)))
            centers = following
            if moved < 1e-5 * scale:
                break
        return _component((np.argmax(membership, axis=0) == int(np.argmax(centers))) & near, peak)

    return _around(image, seed_mm, radius_mm, segment)


def region_growing(
    image: sitk.Image, seed_mm: Sequence[float], *, multiplier: float = 2.5, radius_mm: float = 40.0
) -> sitk.Image:
    """Return the region around the peak whose values stay within ``multiplier`` standard deviations.

    Mean and deviation start from the voxels above 70 % of the peak and follow the region as it
    grows; the upper side is open, because a lesion's hot centre belongs to it.

    Raises
    ------
    SegmentationError
        As :func:`adaptive_threshold`.
    """

    def segment(part: sitk.Image, values: np.ndarray, near: np.ndarray, peak: tuple[int, ...]) -> np.ndarray:
        inside = _component((values >= 0.7 * values[peak]) & near, peak)
        for _ in range(4):
            mean, deviation = float(values[inside].mean()), float(values[inside].std())
            # Below 40 % of the mean the region would follow the blur into the surroundings.
            level = max(mean - multiplier * deviation, 0.4 * mean)
            following = _component((values >= level) & near, peak)
            if np.array_equal(following, inside):
                break
            inside = following
        return inside

    return _around(image, seed_mm, radius_mm, segment)


Segment = Callable[["sitk.Image", np.ndarray, np.ndarray, tuple[int, ...]], np.ndarray]


def _around(image: sitk.Image, seed_mm: Sequence[float], radius_mm: float, segment: Segment) -> sitk.Image:
    """Run ``segment`` in the box around the seed and return its result on the whole grid."""
    import SimpleITK as sitk

    whole = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    whole.CopyInformation(image)
    index = index_of(image, seed_mm)
    low = [max(0, i - int(2 * radius_mm / s) - 1) for i, s in zip(index, image.GetSpacing(), strict=True)]
    high = [
        min(n, i + int(2 * radius_mm / s) + 2)
        for i, s, n in zip(index, image.GetSpacing(), image.GetSize(), strict=True)
    ]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = sitk.Cast(image[box], sitk.sitkFloat32)
    values = np.nan_to_num(sitk.GetArrayFromImage(part)).astype(np.float64)
    clean = sitk.GetImageFromArray(values.astype(np.float32))
    clean.CopyInformation(part)
    grids = np.ogrid[tuple(slice(0, n) for n in values.shape)]
    local = [i - a for i, a in zip(index, low, strict=True)][::-1]
    spacing = part.GetSpacing()[::-1]
    distance2 = sum(((g - i) * s) ** 2 for g, i, s in zip(grids, local, spacing, strict=True))
    near = distance2 <= radius_mm**2
    peak = _local_peak(values, tuple(local))
    if values[peak] <= 0 or values[peak] <= 1.2 * np.median(values[near]):
        raise SegmentationError(
            "The point does not lie in a region that is brighter than its surroundings; click in the lesion."
        )
    inside = segment(clean, values, near, peak)
    label = sitk.GetImageFromArray(np.ascontiguousarray(inside, dtype=np.uint8))
    label.CopyInformation(part)
    whole[box] = label
    return whole


def _local_peak(values: np.ndarray, start: tuple[int, ...]) -> tuple[int, ...]:
    """Climb from the click to the local maximum: the lesion that was meant, not a hotter neighbor."""
    position = start
    while True:
        low = [max(0, i - 1) for i in position]
        block = values[tuple(slice(a, i + 2) for a, i in zip(low, position, strict=True))]
        step = np.unravel_index(int(np.argmax(block)), block.shape)
        following = tuple(int(a + b) for a, b in zip(low, step, strict=True))
        if values[following] <= values[position]:
            return position
        position = following


def _component(inside: np.ndarray, peak: tuple[int, ...]) -> np.ndarray:
    """Return the face-connected component that holds the peak."""
    from scipy import ndimage

    labels, _ = ndimage.label(inside)
    if labels[peak] == 0:
        only = np.zeros(inside.shape, bool)
        only[peak] = True
        return only
    return labels == labels[peak]
