"""RT structure sets as VOIs with fractional weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.contours import covered_fraction, plane_distance, polygon_area, slab_weights
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.scan import Header, items_of, number_of, value_of
from TheranosticDoseLib.dicom_io.targets import Target, choose_target
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

_CONTOUR_DATA = 0x30060050
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")


@dataclasses.dataclass(frozen=True)
class Roi:
    """One structure: its name, its closed contours (N, 3) in mm, and the UIDs that it refers to."""

    number: int
    name: str
    contours: tuple[np.ndarray, ...]
    frame_of_reference: str
    interpreted_type: str
    code: dict[str, str] | None


def vois_of_rtstruct(header: Header, dataset: Dataset, targets: list[Target], journal: Journal) -> list[Voi]:
    """Return the structures of an RTSTRUCT as VOIs on the image that they were drawn on.

    Parameters
    ----------
    header : Header
        For the name of the file in messages.
    dataset : pydicom.Dataset
        The whole object.
    targets : list of Target
        The images of the study.
    journal : Journal
    """
    series_uids = _referenced_series(dataset)
    vois = []
    for roi in _rois(header, dataset, journal):
        target = choose_target(targets, series_uids, roi.frame_of_reference, header.name, roi.name, journal)
        if target is None:
            continue
        weights = weights_of(roi, target.image, header.name, journal)
        if weights is None:
            continue
        kind = kind_of_name(roi.name, roi.interpreted_type)
        vois.append(Voi(roi.name, weights, target.label, kind, roi.code, f"RTSTRUCT {header.name}"))
    return vois


def kind_of_name(name: str, interpreted_type: str = "") -> str:
    """Return ``organ``, ``lesion``, ``body`` or ``other`` from what a structure is called."""
    text = name.lower()
    if interpreted_type.upper() == "EXTERNAL" or text in ("body", "external", "skin"):
        return "body"
    words = ("lesion", "tumor", "tumour", "metast", "gtv", "ctv", "ptv", "node", "mets")
    if interpreted_type.upper() in ("GTV", "CTV", "PTV") or any(word in text for word in words):
        return "lesion"
    if interpreted_type.upper() in ("ISOCENTER", "MARKER", "REGISTRATION", "SUPPORT", "FIXATION"):
        return "other"
    return "organ"


def _referenced_series(dataset: Dataset) -> list[str]:
    """Return the Series Instance UIDs that the structure set refers to."""
    uids = []
    for frame in items_of(dataset, "ReferencedFrameOfReferenceSequence"):
        for study in items_of(frame, "RTReferencedStudySequence"):
            for series in items_of(study, "RTReferencedSeriesSequence"):
                uids.append(str(value_of(series, "SeriesInstanceUID", "")))
    return [uid for uid in uids if uid]


def _rois(header: Header, dataset: Dataset, journal: Journal) -> list[Roi]:
    """Return the structures that have closed contours; the others become findings."""
    contours = {
        number_of(item, "ReferencedROINumber"): item for item in items_of(dataset, "ROIContourSequence")
    }
    observations = {
        number_of(item, "ReferencedROINumber"): item
        for item in items_of(dataset, "RTROIObservationsSequence")
    }
    frames = items_of(dataset, "ReferencedFrameOfReferenceSequence")
    common = str(value_of(frames[0], "FrameOfReferenceUID", "")) if frames else ""
    rois = []
    for item in items_of(dataset, "StructureSetROISequence"):
        number = number_of(item, "ROINumber")
        name = str(value_of(item, "ROIName", "") or f"ROI {number:.0f}").strip() if number is not None else ""
        if not name:
            continue
        closed = _closed_contours(header, name, contours.get(number), journal)
        if not closed:
            text = f"{header.name}: structure {name!r} has no closed contour; it was left out."
            journal.find("missing", f"vois.{name}", text, source=header.name, section="VOIs", item=name)
            continue
        observation = observations.get(number)
        kind = str(value_of(observation, "RTROIInterpretedType", "") or "")
        reference = str(value_of(item, "ReferencedFrameOfReferenceUID", "") or common)
        rois.append(Roi(int(number), name, tuple(closed), reference, kind, _code(observation)))
    return rois


def _code(observation: Dataset | None) -> dict[str, str] | None:
    """Return the identification code of a structure."""
    for item in items_of(observation, "RTROIIdentificationCodeSequence"):
        code = {
            "scheme": str(value_of(item, "CodingSchemeDesignator", "")),
            "value": str(value_of(item, "CodeValue", "")),
            "meaning": str(value_of(item, "CodeMeaning", "")),
        }
        if code["value"]:
            return code
    return None


def _closed_contours(header: Header, name: str, item: Dataset | None, journal: Journal) -> list[np.ndarray]:
    """Return the closed contours (N, 3) in mm; points, open lines and broken ones are told and left out."""
    closed, other, broken = [], 0, 0
    for contour in items_of(item, "ContourSequence"):
        if str(value_of(contour, "ContourGeometricType", "CLOSED_PLANAR")).upper() not in _CLOSED:
            other += 1
            continue
        points = _points(contour)
        if points is None:
            broken += 1
        elif len(points) >= 3:
            closed.append(points)
    if other or broken:
        text = f"{header.name}: structure {name!r} has {other} open contours or points and {broken} broken ones; "
        severity = "warning" if broken else "info"
        journal.find(severity, f"vois.{name}", text + "they were left out.", section="VOIs", item=name)
    return closed


def _points(contour: Dataset) -> np.ndarray | None:
    """Return contour data as (N, 3), ``None`` where it is not whole.

    The text is split here: decimal string objects of pydicom take most of the time of a load.
    """
    try:
        element = contour.get_item(_CONTOUR_DATA)
        raw = element.value if element is not None else b""
        values = raw.split(b"\\") if isinstance(raw, bytes) else value_of(contour, "ContourData", [])
        points = np.array([float(value) for value in values])
    except (TypeError, ValueError, KeyError):
        return None
    if points.size % 3 or not np.isfinite(points).all():
        return None
    return points.reshape(-1, 3)


def weights_of(roi: Roi, grid: sitk.Image, file: str, journal: Journal) -> sitk.Image | None:
    """Return the fraction of each voxel of ``grid`` inside a structure; ``None`` where it lies outside."""
    from TheranosticDoseLib.geometry import image_like

    planes = _planes(roi, grid)
    if planes is None:
        text = f"{file}: the contours of {roi.name!r} do not lie in the slices of the image; it was left out."
        journal.find("missing", f"vois.{roi.name}", text, source=file, section="VOIs", item=roi.name)
        return None
    columns, rows, slices = grid.GetSize()
    heights = np.array(sorted(planes))
    thickness = plane_distance(heights)
    share = slab_weights(heights, thickness, slices)
    array = np.zeros((slices, rows, columns), np.float32)
    full = held = 0.0
    for height, parts in zip(heights, share, strict=True):
        cover = covered_fraction(planes[height], (rows, columns))
        area = float(cover.sum())
        full += polygon_area(planes[height], (rows, columns), area) * thickness
        held += area * float(parts.sum())
        for index in np.flatnonzero(parts):
            array[index] += parts[index] * cover
    _tell_coverage(roi, heights, thickness, held / full if full > 0 else 0.0, file, journal)
    np.clip(array, 0.0, 1.0, out=array)
    return image_like(array, grid) if held > 0 else None


def _planes(roi: Roi, grid: sitk.Image) -> dict[float, list[np.ndarray]] | None:
    """Return the contours by slice height, in indices; ``None`` where one is not parallel to the slices."""
    axes = np.array(grid.GetDirection()).reshape(3, 3)
    planes: dict[float, list[np.ndarray]] = {}
    for contour in roi.contours:
        index = (contour - np.array(grid.GetOrigin())) @ axes / np.array(grid.GetSpacing())
        height = float(index[:, 2].mean())
        if np.abs(index[:, 2] - height).max() > 0.25:
            return None
        near = round(height) if abs(height - round(height)) < 0.05 else round(height, 3)
        planes.setdefault(float(near), []).append(index[:, :2])
    return planes


def _tell_coverage(
    roi: Roi, heights: np.ndarray, thickness: float, fraction: float, file: str, journal: Journal
) -> None:
    """Tell where a structure reaches out of the image, or misses contours between others."""
    field, item = f"vois.{roi.name}", roi.name
    if fraction < 0.005:
        text = f"{file}: structure {roi.name!r} lies outside the image; it was left out."
        journal.find("missing", field, text, source=file, section="VOIs", item=item)
    elif fraction < 0.99:
        text = f"{file}: {100 * (1 - fraction):.1f} % of structure {roi.name!r} lies outside the image."
        journal.find("warning", field, text, value=fraction, source=file, section="VOIs", item=item)
    gaps = np.diff(heights)
    if gaps.size and gaps.max() > 1.5 * thickness:
        missing = int(np.sum(np.round(gaps[gaps > 1.5 * thickness] / thickness) - 1))
        text = f"{file}: structure {roi.name!r} has no contour on {missing} slices between others; they stay empty."
        journal.find("warning", field, text, value=missing, source=file, section="VOIs", item=item)
