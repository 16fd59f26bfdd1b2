"""Voxels and their place: from slices or frames to one image in LPS and mm."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.scan import (
    Header,
    Series,
    item_of,
    items_of,
    number_of,
    numbers_of,
    tag_name,
    value_of,
)
from TheranosticDoseLib.errors import GeometryError

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclasses.dataclass(frozen=True)
class Plane:
    """Where one slice lies: centre of its first pixel, direction cosines, pixel spacing (row, column), mm."""

    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice."""
        return np.cross(self.row, self.column)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Slices of one volume, ascending along the normal.

    Attributes
    ----------
    frames : tuple of (Header, int)
        File and frame number of each slice.
    first : Plane
        The lowest slice.
    step_mm : float
        Distance between slice centres.
    notes : tuple of (severity, text)
        What was doubtful or assumed.
    """

    frames: tuple[tuple[Header, int], ...]
    first: Plane
    step_mm: float
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        return self.first.shape[1], self.first.shape[0], len(self.frames)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Along x, y, z, mm."""
        return self.first.spacing[1], self.first.spacing[0], self.step_mm

    def image(self, array: np.ndarray) -> sitk.Image:
        """Return a float32 image of ``array`` ``(z, y, x)`` at the place of the stack."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
        image.SetSpacing([float(value) for value in self.spacing])
        image.SetOrigin([float(value) for value in self.first.position])
        axes = np.stack([self.first.row, self.first.column, self.first.normal], axis=1)
        image.SetDirection([float(value) for value in axes.ravel()])
        return image


def stack_of(series: Series) -> Stack:
    """Return the slices of a series in order.

    Raises
    ------
    GeometryError
        For missing slices, a tilted gantry, several volumes in one series or unusable tags.
    """
    first = series.first
    frames = number_of(first.dataset, "NumberOfFrames") or 1
    if frames > 1 or (series.kind == "NM" and len(series.headers) == 1):
        if len(series.headers) > 1:
            raise GeometryError(
                f"{series.title}: {len(series.headers)} multi-frame files in one series "
                f"(e.g. {first.name}, {series.headers[1].name}); keep the one that is wanted."
            )
        if item_of(first.dataset, "PerFrameFunctionalGroupsSequence") is not None:
            return _enhanced(series, int(frames))
        return _nm_multiframe(series, int(frames))
    return _slices(series)


def plane_of(header: Header, *sources: object) -> Plane:
    """Return the plane of a slice from the first of ``sources`` that has each tag."""

    def numbers(keyword: str, count: int) -> list[float]:
        for source in sources:
            values = numbers_of(source, keyword, count)
            if values is not None:
                return values
        raise GeometryError(
            f"{header.name} {tag_name(keyword)}: missing or not {count} numbers; export again."
        )

    orientation = numbers("ImageOrientationPatient", 6)
    row, column = _axes(header, orientation)
    spacing = numbers("PixelSpacing", 2)
    if min(spacing) <= 0:
        raise GeometryError(f"{header.name} {tag_name('PixelSpacing')} is {spacing}; it must be above zero.")
    position = np.array(numbers("ImagePositionPatient", 3))
    return Plane(position, row, column, (spacing[0], spacing[1]), shape_of(header))


def shape_of(header: Header) -> tuple[int, int]:
    """Return rows and columns."""
    rows, columns = number_of(header.dataset, "Rows"), number_of(header.dataset, "Columns")
    if not rows or not columns or rows < 1 or columns < 1:
        raise GeometryError(
            f"{header.name}: (0028,0010) Rows or (0028,0011) Columns is missing; export again."
        )
    return int(rows), int(columns)


def _axes(header: Header, orientation: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal row and column directions; rounding is repaired, nonsense is an error."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(float(row @ column)) > 1e-2:
        tag = tag_name("ImageOrientationPatient")
        raise GeometryError(
            f"{header.name} {tag} is {orientation}; it must be two perpendicular unit vectors."
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _slices(series: Series) -> Stack:
    """Return the stack of a series with one slice per file."""
    notes: list[tuple[str, str]] = []
    planes = []
    for header in series.headers:
        detector = item_of(header.dataset, "DetectorInformationSequence")
        planes.append(plane_of(header, header.dataset, detector))
    reference = planes[0]
    for header, plane in zip(series.headers, planes, strict=True):
        same_axes = np.allclose([plane.row, plane.column], [reference.row, reference.column], atol=1e-3)
        if (
            not same_axes
            or plane.shape != reference.shape
            or not np.allclose(plane.spacing, reference.spacing, rtol=1e-3)
        ):
            raise GeometryError(
                f"{series.title}: {header.name} has another orientation, pixel spacing or matrix than "
                f"{series.first.name}; the series holds more than one volume (a localizer?)."
            )
    heights = np.array([plane.position @ reference.normal for plane in planes])
    order = np.argsort(heights, kind="stable")
    step = _even_step(series, heights[order], [series.headers[i] for i in order], notes)
    _reject_tilt(series, [planes[i] for i in order], step)
    frames = tuple((series.headers[i], 0) for i in order)
    return Stack(frames, planes[order[0]], step, tuple(notes))


def _even_step(
    series: Series, heights: np.ndarray, headers: list[Header], notes: list[tuple[str, str]]
) -> float:
    """Return the common distance of the slices; duplicates and gaps are errors that name the place."""
    if len(heights) == 1:
        thickness = number_of(headers[0].dataset, "SliceThickness")
        if not thickness or thickness <= 0:
            raise GeometryError(f"{series.title}: one slice without (0018,0050) SliceThickness is no volume.")
        notes.append(("warning", f"{series.title} has a single slice."))
        return float(thickness)
    steps = np.diff(heights)
    step = float(np.median(steps))
    tolerance = max(0.02 * abs(step), 1e-3)
    if steps.min() < tolerance:
        at = int(np.argmin(steps))
        raise GeometryError(
            f"{series.title}: {headers[at].name} and {headers[at + 1].name} lie at the same place "
            f"({heights[at]:.2f} mm); the series holds more than one volume or duplicate slices."
        )
    step = float((heights[-1] - heights[0]) / (len(heights) - 1))
    gaps = np.flatnonzero(np.abs(steps - np.median(steps)) > tolerance)
    if gaps.size:
        at = int(gaps[np.argmax(steps[gaps])])
        missing = round(float(steps[at] / np.median(steps))) - 1
        what = f"{missing} missing" if missing > 0 else "uneven spacing"
        raise GeometryError(
            f"{series.title}: slices are not evenly spaced ({what} between {headers[at].name} at {heights[at]:.2f} mm "
            f"and {headers[at + 1].name} at {heights[at + 1]:.2f} mm, usual step {np.median(steps):.3f} mm); "
            "copy the whole series again."
        )
    return step


def _reject_tilt(series: Series, planes: list[Plane], step: float) -> None:
    """Raise where the slices do not lie behind one another (tilted gantry)."""
    expected = planes[0].position + np.outer(np.arange(len(planes)) * step, planes[0].normal)
    drift = np.linalg.norm(np.array([plane.position for plane in planes]) - expected, axis=1)
    if drift.max() > max(0.1 * min(planes[0].spacing), 0.05):
        raise GeometryError(
            f"{series.title}: the slices are shifted sideways by up to {drift.max():.2f} mm (tilted gantry or "
            "mixed volumes); resample the series to an upright grid first."
        )


def _nm_multiframe(series: Series, frames: int) -> Stack:
    """Return the stack of an NM multi-frame object.

    The place stands in the detector information.  The sign of Spacing Between Slices
    tells whether the frames go with (+) or against (-) the normal (PS3.3 C.8.4.15).
    """
    header, notes = series.first, []
    dataset = header.dataset
    detector = item_of(dataset, "DetectorInformationSequence")
    row, column = _nm_axes(header, detector, notes)
    spacing = numbers_of(dataset, "PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise GeometryError(
            f"{header.name} {tag_name('PixelSpacing')}: missing or not above zero; export again."
        )
    step = number_of(dataset, "SpacingBetweenSlices")
    if not step:
        step = number_of(dataset, "SliceThickness")
        notes.append(
            ("assumption", "SpacingBetweenSlices is missing; SliceThickness is used as the slice distance")
        )
    if not step:
        raise GeometryError(f"{header.name} {tag_name('SpacingBetweenSlices')}: missing; export again.")
    order = _slice_order(header, frames)
    shape = shape_of(header)
    normal = np.cross(row, column)
    position = _nm_position(header, detector, (row, column, normal), spacing, step, shape, frames, notes)
    if step < 0:
        order, position = order[::-1], position + normal * step * (frames - 1)
    plane = Plane(position, row, column, (spacing[0], spacing[1]), shape)
    return Stack(tuple((header, int(i)) for i in order), plane, abs(float(step)), tuple(notes))


def _nm_axes(header: Header, detector: object, notes: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the axes of an NM object; without a tag, transverse slices of a supine head-first patient."""
    for source in (detector, header.dataset):
        orientation = numbers_of(source, "ImageOrientationPatient", 6)
        if orientation is not None:
            return _axes(header, orientation)
    notes.append(
        (
            "warning",
            "ImageOrientationPatient is missing; transverse slices of a head-first supine patient are assumed",
        )
    )
    return np.array([1.0, 0, 0]), np.array([0.0, 1, 0])


def _nm_position(header, detector, axes, spacing, step, shape, frames, notes) -> np.ndarray:
    """Return the centre of the first pixel of the first frame; without a tag the volume is centred on zero."""
    for source in (detector, header.dataset):
        position = numbers_of(source, "ImagePositionPatient", 3)
        if position is not None:
            return np.array(position)
    notes.append(
        (
            "warning",
            "ImagePositionPatient is missing; the volume is centred on zero and may not match a CT or VOIs",
        )
    )
    row, column, normal = axes
    half = (shape[1] - 1) / 2 * spacing[1] * row + (shape[0] - 1) / 2 * spacing[0] * column
    return -half - (frames - 1) / 2 * step * normal


def _slice_order(header: Header, frames: int) -> np.ndarray:
    """Return the frame index of each slice from the slice vector."""
    vector = value_of(header.dataset, "SliceVector")
    try:
        numbers = (
            np.array([int(v) for v in np.atleast_1d(np.asarray(vector, dtype=object))]) if vector else None
        )
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.size != frames:
        return np.arange(frames)
    if np.unique(numbers).size != frames:
        raise GeometryError(
            f"{header.name} {tag_name('SliceVector')} names {np.unique(numbers).size} slices for {frames} frames: "
            "several volumes (energy windows, gates or time slots) in one object; export the one that is wanted."
        )
    return np.argsort(numbers, kind="stable")


def _enhanced(series: Series, frames: int) -> Stack:
    """Return the stack of an enhanced multi-frame object (functional groups per frame)."""
    header = series.first
    shared = item_of(header.dataset, "SharedFunctionalGroupsSequence")
    groups = items_of(header.dataset, "PerFrameFunctionalGroupsSequence")
    if len(groups) != frames:
        raise GeometryError(
            f"{header.name}: {len(groups)} functional groups for {frames} frames; export again."
        )
    planes = []
    for group in groups:
        sources = []
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            sources += [item_of(group, name), item_of(shared, name)]
        planes.append(plane_of(header, *sources))
    heights = np.array([plane.position @ planes[0].normal for plane in planes])
    order = np.argsort(heights, kind="stable")
    notes: list[tuple[str, str]] = []
    step = _even_step(series, heights[order], [header] * frames, notes)
    _reject_tilt(series, [planes[i] for i in order], step)
    return Stack(tuple((header, int(i)) for i in order), planes[order[0]], step, tuple(notes))
