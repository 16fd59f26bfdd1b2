"""DICOM segmentations (binary, fractional, label map) as VOIs with fractional weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.rtstruct import kind_of_name
from TheranosticDoseLib.dicom_io.scan import Header, item_of, items_of, number_of, value_of
from TheranosticDoseLib.dicom_io.targets import Target, choose_target, on_target
from TheranosticDoseLib.dicom_io.volume import Plane, Stack, plane_of
from TheranosticDoseLib.errors import GeometryError, InputError
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

_PLANE_SEQUENCES = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment: number, name, kind and code."""

    number: int
    name: str
    kind: str
    code: dict[str, str] | None


def vois_of_seg(header: Header, dataset: Dataset, targets: list[Target], journal: Journal) -> list[Voi]:
    """Return the segments of a SEG as VOIs on the image that they were made on.

    Parameters
    ----------
    header : Header
        For the name of the file in messages.
    dataset : pydicom.Dataset
        The whole object.
    targets : list of Target
        The images of the study.
    journal : Journal

    Raises
    ------
    InputError
        If the object cannot be decoded.
    """
    segments = _segments(dataset)
    if not segments:
        raise InputError(f"{header.name} (0062,0002) SegmentSequence: no segment is described; export again.")
    uids = [
        str(value_of(item, "SeriesInstanceUID", "")) for item in items_of(dataset, "ReferencedSeriesSequence")
    ]
    frame = str(value_of(dataset, "FrameOfReferenceUID", "") or "")
    names = ", ".join(segment.name for segment in segments)
    target = choose_target(targets, uids, frame, header.name, names, journal)
    if target is None:
        return []
    weights, planes = _frames(header, dataset)
    numbers = [] if _is_labelmap(dataset) else _segment_numbers(header, dataset, len(planes))
    vois = []
    for segment in segments:
        if _is_labelmap(dataset):
            chosen = [
                (plane, (values == segment.number)) for plane, values in zip(planes, weights, strict=True)
            ]
            chosen = [(plane, values) for plane, values in chosen if values.any()]
        else:
            rows = zip(planes, weights, numbers, strict=True)
            chosen = [(plane, values) for plane, values, number in rows if number == segment.number]
        image = _on_image(header, segment, chosen, target, journal) if chosen else None
        if image is None:
            text = f"{header.name}: segment {segment.name!r} is empty or outside the image; it was left out."
            journal.find("missing", f"vois.{segment.name}", text, section="VOIs", item=segment.name)
            continue
        vois.append(Voi(segment.name, image, target.label, segment.kind, segment.code, f"SEG {header.name}"))
    return vois


def _is_labelmap(dataset: Dataset) -> bool:
    return str(value_of(dataset, "SegmentationType", "")).upper() == "LABELMAP"


def _segments(dataset: Dataset) -> list[Segment]:
    """Return the described segments."""
    segments = []
    for item in items_of(dataset, "SegmentSequence"):
        number = number_of(item, "SegmentNumber")
        if number is None or (number == 0 and _is_labelmap(dataset)):
            continue
        code = item_of(item, "SegmentedPropertyTypeCodeSequence")
        meaning = str(value_of(code, "CodeMeaning", "") or "")
        name = str(value_of(item, "SegmentLabel", "") or meaning or f"segment {number:.0f}").strip()
        category = str(
            value_of(item_of(item, "SegmentedPropertyCategoryCodeSequence"), "CodeMeaning", "")
        ).lower()
        kind = "lesion" if "abnormal" in category else kind_of_name(f"{name} {meaning}")
        known = None
        if value_of(code, "CodeValue"):
            scheme = str(value_of(code, "CodingSchemeDesignator", ""))
            known = {"scheme": scheme, "value": str(code.CodeValue), "meaning": meaning}
        segments.append(Segment(int(number), name, kind, known))
    return segments


def _frames(header: Header, dataset: Dataset) -> tuple[np.ndarray, list[Plane]]:
    """Return the frames as weights (or label numbers) and their planes."""
    try:
        pixels = dataset.pixel_array
    except Exception as error:  # noqa: BLE001 - decoders raise many kinds; the file and the reason are named
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise InputError(f"{header.name}: the segmentation cannot be decoded ({reason}).") from None
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    shared = item_of(dataset, "SharedFunctionalGroupsSequence")
    groups = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    if len(groups) != pixels.shape[0]:
        raise InputError(
            f"{header.name}: {len(groups)} functional groups for {pixels.shape[0]} frames; export again."
        )
    planes = []
    for group in groups:
        sources = [item_of(holder, name) for name in _PLANE_SEQUENCES for holder in (group, shared)]
        planes.append(plane_of(header, *sources))
    if str(value_of(dataset, "SegmentationType", "")).upper() == "FRACTIONAL":
        highest = number_of(dataset, "MaximumFractionalValue") or 255.0
        return pixels.astype(np.float32) / np.float32(highest), planes
    return pixels, planes


def _segment_numbers(header: Header, dataset: Dataset, frames: int) -> list[int]:
    """Return the segment that each frame belongs to."""
    shared = item_of(dataset, "SharedFunctionalGroupsSequence")
    numbers = []
    for group in items_of(dataset, "PerFrameFunctionalGroupsSequence"):
        items = (item_of(holder, "SegmentIdentificationSequence") for holder in (group, shared))
        found = [number_of(item, "ReferencedSegmentNumber") for item in items]
        number = next((value for value in found if value is not None), None)
        if number is None:
            raise InputError(
                f"{header.name} (0062,000B) ReferencedSegmentNumber: missing in a frame; export again."
            )
        numbers.append(int(number))
    return numbers[:frames]


def _on_image(
    header: Header, segment: Segment, frames: list[tuple[Plane, np.ndarray]], target: Target, journal: Journal
) -> sitk.Image | None:
    """Return the weights of a segment on the grid of its image: frame by frame, or resampled."""
    from TheranosticDoseLib.geometry import image_like

    grid = target.image
    array = np.zeros(grid.GetSize()[::-1], np.float32)
    for plane, values in frames:
        index = _slice_index(plane, grid)
        if index is None:
            return _resampled(header, segment, frames, target, journal)
        if 0 <= index < array.shape[0]:
            array[index] = np.maximum(array[index], values)
    return image_like(np.clip(array, 0.0, 1.0), grid) if array.any() else None


def _slice_index(plane: Plane, grid: sitk.Image) -> int | None:
    """Return the slice of ``grid`` that a plane coincides with, ``None`` where it does not."""
    axes = np.array(grid.GetDirection()).reshape(3, 3)
    spacing = np.array(grid.GetSpacing())
    if plane.shape != (grid.GetSize()[1], grid.GetSize()[0]):
        return None
    if not np.allclose(plane.spacing, (spacing[1], spacing[0]), rtol=1e-3):
        return None
    if not np.allclose(np.stack([plane.row, plane.column], 1), axes[:, :2], atol=1e-3):
        return None
    index = (plane.position - np.array(grid.GetOrigin())) @ axes / spacing
    if np.abs(index[:2]).max() > 0.05 or abs(index[2] - round(index[2])) > 0.05:
        return None
    return round(index[2])


def _resampled(
    header: Header, segment: Segment, frames: list[tuple[Plane, np.ndarray]], target: Target, journal: Journal
) -> sitk.Image | None:
    """Return the weights of a segment that has its own grid, on the grid of its image."""
    first = frames[0][0]
    heights = np.array([plane.position @ first.normal for plane, _ in frames])
    order = np.argsort(heights)
    steps = np.diff(heights[order])
    steps = steps[steps > 1e-3]
    step = float(steps.min()) if steps.size else float(target.image.GetSpacing()[2])
    index = np.round((heights - heights.min()) / step).astype(int)
    if np.abs((heights - heights.min()) / step - index).max() > 0.1 or index.max() > 10_000:
        raise GeometryError(
            f"{header.name}: the frames of {segment.name!r} are not evenly spaced; export again."
        )
    array = np.zeros((int(index.max()) + 1, *first.shape), np.float32)
    for place, (_, values) in zip(index, frames, strict=True):
        array[place] = np.maximum(array[place], values)
    image = Stack(((header, 0),) * array.shape[0], frames[order[0]][0], step).image(array)
    return on_target(image, target, header.name, segment.name, journal)
