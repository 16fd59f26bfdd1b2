"""How far a segment can be trusted: volume, side, border, edge shift, unusual input."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from DoseSegmentationLib.resources import resource_path
from DoseSegmentationLib.segmentation import Segmentation, StructureRecord

if TYPE_CHECKING:
    import SimpleITK as sitk


@functools.lru_cache(maxsize=1)
def plausible_volumes() -> dict[str, tuple[float, float]]:
    """Return the range of volume of each structure in adults, mL (``Resources/Models``)."""
    table = json.loads(resource_path("Models", "plausible_volumes.json").read_text(encoding="utf-8"))
    return {name: (entry["low"], entry["high"]) for name, entry in table["volumes_ml"].items()}


def with_quality(segmentation: Segmentation, spect: sitk.Image | None) -> Segmentation:
    """Return the segmentation with the volumes, checks and edge shifts of all records.

    Parameters
    ----------
    segmentation : Segmentation
    spect : SimpleITK.Image, optional
        On any grid; without it there is no edge shift.
    """
    import SimpleITK as sitk
    from scipy import ndimage

    labels = sitk.GetArrayViewFromImage(segmentation.label_map)
    boxes = ndimage.find_objects(labels)
    centre = _centre_x(segmentation, boxes)
    on_grid = None
    if spect is not None:
        image = sitk.Cast(spect, sitk.sitkFloat32)
        on_grid = sitk.Resample(
            image, segmentation.label_map, sitk.Transform(), sitk.sitkLinear, float("nan")
        )
    records = tuple(
        _judged(record, segmentation.label_map, labels, boxes, centre, on_grid)
        for record in segmentation.records
    )
    return dataclasses.replace(segmentation, records=records)


def _judged(record: StructureRecord, label_map, labels, boxes, centre, spect) -> StructureRecord:
    import SimpleITK as sitk

    box = boxes[record.label - 1] if 0 < record.label <= len(boxes) else None
    if box is None:
        return dataclasses.replace(
            record, label=0, volume_ml=0.0, confidence=None,
            checks=("Not found; it may lie outside the field of view.",),
        )  # fmt: skip
    grown = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in box)
    inside = labels[grown] == record.label
    voxel_ml = float(np.prod(label_map.GetSpacing())) / 1000.0
    volume = float(inside.sum()) * voxel_ml
    cut = any(s.start == 0 or s.stop == n for s, n in zip(box, labels.shape, strict=True))
    checks = _volume_checks(record, volume, cut) + _side_checks(record, label_map, box, centre)
    checks += _count_checks(record, inside)
    shift = None
    if spect is not None:
        values = sitk.GetArrayViewFromImage(spect)[grown]
        outside = float(np.count_nonzero(~np.isfinite(values[inside]))) / float(inside.sum())
        if outside > 0 and record.kind != "body":
            checks.append(f"{max(100.0 * outside, 0.1):.1f} % of it lie outside of the SPECT.")
        # What was not measured is no zero.
        shift = boundary_shift_percent(inside, values) if outside == 0 else None
    return dataclasses.replace(record, volume_ml=volume, checks=tuple(checks), boundary_shift_percent=shift)


def boundary_shift_percent(inside: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """Return the change of the mean when the border moves one voxel inwards and one outwards, %.

    Parameters
    ----------
    inside : ndarray of bool, shape (z, y, x)
    values : ndarray of float, shape (z, y, x)
        NaN where nothing was measured; such voxels do not count.

    Returns
    -------
    tuple of float or None
        ``None`` where the mean is 0 or the segment vanishes when it shrinks.
    """
    from scipy import ndimage

    measured = np.isfinite(values)
    inside = inside & measured
    mean = float(values[inside].mean()) if inside.any() else 0.0
    eroded = ndimage.binary_erosion(inside)
    if mean <= 0 or not eroded.any():
        return None
    means = [float(values[mask].mean()) for mask in (eroded, ndimage.binary_dilation(inside) & measured)]
    return (100.0 * (means[0] / mean - 1.0), 100.0 * (means[1] / mean - 1.0))


def _volume_checks(record: StructureRecord, volume_ml: float, cut: bool) -> list[str]:
    checks = ["It touches the border of the image and may be cut."] if cut and record.kind != "body" else []
    low, high = plausible_volumes().get("Lesion" if record.kind == "lesion" else record.name, (0.0, np.inf))
    if volume_ml < low and not cut:
        checks.append(f"{volume_ml:.0f} mL is below the usual {low:g} to {high:g} mL.")
    if volume_ml > high:
        checks.append(f"{volume_ml:.0f} mL is above the usual {low:g} to {high:g} mL.")
    return checks


def _side_checks(record: StructureRecord, label_map, box, centre) -> list[str]:
    """The left one of a pair lies at larger x (LPS) than the middle of the body."""
    words = record.name.lower().split()
    side = 1 if "left" in words else -1 if "right" in words else 0
    if side == 0 or centre is None:
        return []
    middle = [(s.start + s.stop - 1) / 2 for s in box][::-1]
    x = label_map.TransformContinuousIndexToPhysicalPoint(middle)[0]
    if side * (x - centre) < 0:
        return [
            "It lies on the other side of the body than its name says: check the orientation of the image."
        ]
    return []


def _count_checks(record: StructureRecord, inside: np.ndarray) -> list[str]:
    from scipy import ndimage

    if record.kind != "organ" or record.name in (
        "Bone",
        "Ribs",
        "Bowel",
        "Lungs",
        "Kidneys",
        "Salivary glands",
    ):
        return []
    parts, number = ndimage.label(inside, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    large = int(np.sum(sizes > 0.05 * sizes.sum()))
    return [f"It consists of {large} separate parts."] if number > 1 and large > 1 else []


def _centre_x(segmentation: Segmentation, boxes: Sequence[tuple[slice, ...] | None]) -> float | None:
    """Return the x of the middle of the body: that of all segments with the body, else of the pairs.

    ``None`` without a body, and with one side only.  ``boxes`` as ``scipy.ndimage.find_objects`` gives them.
    """
    found = [r for r in segmentation.records if 0 < r.label <= len(boxes) and boxes[r.label - 1] is not None]
    sides = {"left", "right"}
    paired = [boxes[r.label - 1] for r in found if r.name.split()[-1] in sides]
    body = any(r.kind == "body" for r in found)
    if not body and {r.name.split()[-1] for r in found} & sides != sides:
        return None
    extents = [box for box in boxes if box is not None] if body else paired
    middle = [
        (min(box[axis].start for box in extents) + max(box[axis].stop for box in extents) - 1) / 2
        for axis in (2, 1, 0)
    ]
    return segmentation.label_map.TransformContinuousIndexToPhysicalPoint(middle)[0]


NARROWEST = 0.05
"""Of a channel, about 10 HU of the soft-tissue one: patients of a training differ less than those of a clinic."""


def statistics_of(channels: np.ndarray, inside: np.ndarray | None = None) -> dict[str, float]:
    """Return a few numbers of a network's input by which unusual input is noticed.

    Parameters
    ----------
    channels : ndarray of float, shape (channel, z, y, x)
        After normalization.
    inside : ndarray of bool, optional
        The body; without it all voxels count.
    """
    found = {}
    for number, channel in enumerate(channels):
        values = channel if inside is None or not inside.any() else channel[inside]
        quantiles = np.percentile(values, [5, 25, 50, 75, 95, 99.5])
        for share, value in zip((5, 25, 50, 75, 95, 99.5), quantiles, strict=True):
            found[f"channel {number} percentile {share:g}"] = float(value)
    return found


def unusual(found: Mapping[str, float], trained: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return a sentence where the input lies outside of what a network was trained on.

    Parameters
    ----------
    found : mapping
        From :func:`statistics_of`.
    trained : mapping
        Mean and standard deviation of each over the training samples.
    """
    far = []
    for name, (mean, deviation) in trained.items():
        if name in found:
            distance = abs(found[name] - mean) / max(float(deviation), NARROWEST)
            if distance > 5.0:
                far.append((distance, name))
    if not far:
        return ()
    distance, name = max(far)
    return (
        f"The images differ from those that the network was trained on ({name} is {distance:.0f} standard "
        "deviations away): check its segments with special care.",
    )
