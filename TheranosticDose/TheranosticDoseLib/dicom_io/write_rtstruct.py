"""Write VOIs as an RT Structure Set with planar contours on the slices of a referenced series."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from DoseSegmentationLib.arrays import bounding_box

from TheranosticDoseLib.dicom_io.write_common import (
    SeriesTags,
    code,
    dicom_date,
    dicom_time,
    new_instance,
    save_whole,
    set_values,
)
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
COLORS = ((230, 60, 60), (60, 160, 230), (70, 190, 90), (240, 180, 40), (170, 90, 210), (60, 200, 200))


@dataclass(frozen=True)
class ReferencedSeries:
    """The series that contours are drawn on.

    Attributes
    ----------
    study_uid, series_uid, frame_of_reference_uid, sop_class : str
    instance_uids : tuple of str
        One per slice in the order of the grid, or one for a multi-frame object.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class: str
    instance_uids: tuple[str, ...]

    @classmethod
    def of_files(cls, paths: SequenceOf[Path]) -> ReferencedSeries:
        """Return the reference to a series from its files in the order of the slices."""
        import pydicom

        datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
        first = datasets[0]
        return cls(
            first.StudyInstanceUID,
            first.SeriesInstanceUID,
            first.FrameOfReferenceUID,
            first.SOPClassUID,
            tuple(dataset.SOPInstanceUID for dataset in datasets),
        )


def write_rtstruct(
    vois: SequenceOf[Voi],
    grid: sitk.Image,
    referenced: ReferencedSeries,
    path: Path,
    tags: SeriesTags,
    *,
    leave_out_empty: bool = False,
) -> Path:
    """Write VOIs as contours where their weight is one half.

    A hole is a contour inside a contour (the even-odd rule that treatment planning systems use);
    a VOI in several pieces has several contours on a slice.

    Parameters
    ----------
    vois : sequence of Voi
        Weights on any grid; interpolated linearly in the planes of ``grid``.
    grid : SimpleITK.Image
        Grid of the referenced series; only its geometry is used.
    referenced : ReferencedSeries
    path : pathlib.Path
    tags : SeriesTags
        Its frame of reference must be the one of ``referenced``.
    leave_out_empty : bool
        Leave out VOIs that have no voxel in the grid instead of refusing them.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        Where no VOI was given, a name comes twice, or a VOI has no voxel in the grid.
    OutputError
        If the file cannot be written.
    """
    from pydicom.sequence import Sequence

    names = [voi.name for voi in vois]
    if not names or len(set(names)) != len(names):
        raise InputError(f"An RTSTRUCT needs VOIs with unique names, got: {', '.join(names) or 'none'}.")
    dataset = _structure_set(referenced, tags)
    rois, contours, observations = [], [], []
    for voi in vois:
        polygons = contours_of(voi.weights, grid)
        if not polygons and leave_out_empty:
            continue
        number = len(rois) + 1
        if not polygons:
            raise InputError(
                f"The VOI {voi.name!r} has no voxel of weight 0.5 or more in the referenced images."
            )
        rois.append(_roi(voi, number, referenced))
        contours.append(_roi_contour(polygons, number, referenced))
        observations.append(_observation(voi, number))
    dataset.StructureSetROISequence = Sequence(rois)
    dataset.ROIContourSequence = Sequence(contours)
    dataset.RTROIObservationsSequence = Sequence(observations)
    save_whole(dataset, Path(path))
    return Path(path)


def _structure_set(referenced: ReferencedSeries, tags: SeriesTags) -> Any:
    """Return a structure set without its structures."""
    from pydicom.sequence import Sequence

    dataset = new_instance(tags, RT_STRUCTURE_SET_STORAGE, "RTSTRUCT", 1)
    dataset.StudyInstanceUID = referenced.study_uid
    dataset.FrameOfReferenceUID = referenced.frame_of_reference_uid
    set_values(
        dataset,
        {
            "StructureSetLabel": tags.description[:16] or "VOIs",
            "StructureSetName": tags.description,
            "StructureSetDate": dicom_date(tags.datetime),
            "StructureSetTime": dicom_time(tags.datetime),
            "InstanceNumber": 1,
            "ApprovalStatus": "UNAPPROVED",
            "OperatorsName": "",
        },
    )
    dataset.ReferencedFrameOfReferenceSequence = Sequence([_frame_of_reference(referenced)])
    return dataset


def contours_of(weights: sitk.Image, grid: sitk.Image) -> list[tuple[int, np.ndarray]]:
    """Return the contours of weight 0.5 in the planes of a grid.

    Parameters
    ----------
    weights : SimpleITK.Image
        0 to 1.
    grid : SimpleITK.Image

    Returns
    -------
    list of (int, numpy.ndarray)
        Slice index and closed polygon ``(points, 3)``, LPS, mm; the first point is not repeated.
    """
    import contourpy

    part = _part_of_grid(weights, grid)
    if part is None:
        return []
    sampled, (i0, j0, k0) = part
    origin = np.array(grid.GetOrigin())
    to_points = np.array(grid.GetDirection()).reshape(3, 3) * np.array(grid.GetSpacing())
    found = []
    for k, plane in enumerate(array_of(sampled)):
        # A rim of zeros closes contours that reach the edge of the image.
        padded = np.pad(plane, 1)
        for line in contourpy.contour_generator(z=padded).lines(0.5):
            if len(line) < 4:
                continue
            index = np.column_stack([line[:-1] + (i0 - 1, j0 - 1), np.full(len(line) - 1, k + k0)])
            found.append((k + k0, origin + index @ to_points.T))
    return found


def _part_of_grid(weights: sitk.Image, grid: sitk.Image):
    """Return the weights on the part of the grid that holds them, and the first index of that part."""
    import SimpleITK as sitk

    occupied = array_of(weights) > 0
    if not occupied.any():
        return None
    box = bounding_box(occupied)[::-1]
    low, high = [one.start - 1.0 for one in box], [float(one.stop) for one in box]
    corners = [
        grid.TransformPhysicalPointToContinuousIndex(
            weights.TransformContinuousIndexToPhysicalPoint((x, y, z))
        )
        for x in (low[0], high[0])
        for y in (low[1], high[1])
        for z in (low[2], high[2])
    ]
    size = np.array(grid.GetSize())
    start = np.clip(np.floor(np.min(corners, axis=0)), 0, size).astype(int)
    stop = np.clip(np.ceil(np.max(corners, axis=0)) + 1, 0, size).astype(int)
    if np.any(stop <= start):
        return None
    part = sitk.Image([int(n) for n in stop - start], sitk.sitkUInt8)
    part.SetSpacing(grid.GetSpacing())
    part.SetDirection(grid.GetDirection())
    part.SetOrigin(grid.TransformIndexToPhysicalPoint([int(n) for n in start]))
    identity = sitk.Transform(3, sitk.sitkIdentity)
    sampled = sitk.Resample(weights, part, identity, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    return sampled, tuple(int(n) for n in start)


def _frame_of_reference(referenced: ReferencedSeries) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    images = []
    for uid in referenced.instance_uids:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = referenced.sop_class, uid
        images.append(image)
    series = Dataset()
    series.SeriesInstanceUID = referenced.series_uid
    series.ContourImageSequence = Sequence(images)
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = referenced.study_uid
    study.RTReferencedSeriesSequence = Sequence([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = referenced.frame_of_reference_uid
    frame.RTReferencedStudySequence = Sequence([study])
    return frame


def _roi(voi: Voi, number: int, referenced: ReferencedSeries) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = referenced.frame_of_reference_uid
    roi.ROIName = voi.name
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    if voi.origin:
        roi.ROIGenerationDescription = voi.origin[:64]
    return roi


def _roi_contour(
    polygons: list[tuple[int, np.ndarray]], number: int, referenced: ReferencedSeries
) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    contours = []
    for index, points in polygons:
        contour = Dataset()
        contour.ContourImageSequence = Sequence([_image_reference(referenced, index)])
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.add(_decimals(0x30060050, points))
        contours.append(contour)
    roi = Dataset()
    roi.ReferencedROINumber = number
    roi.ROIDisplayColor = list(COLORS[(number - 1) % len(COLORS)])
    roi.ContourSequence = Sequence(contours)
    return roi


def _decimals(tag: int, values: np.ndarray) -> Any:
    """Return a DS element of micrometre resolution; built directly, as checking each of a million is slow."""
    from pydicom.dataelem import DataElement
    from pydicom.multival import MultiValue

    texts = [f"{value:.3f}" for value in values.ravel().tolist()]
    if max(map(len, texts)) > 16:
        raise InputError(
            "A contour point lies more than a kilometre away from the origin; check the geometry."
        )
    return DataElement(tag, "DS", MultiValue(str, texts), already_converted=True)


def _image_reference(referenced: ReferencedSeries, index: int) -> Dataset:
    from pydicom.dataset import Dataset

    image: Any = Dataset()
    image.ReferencedSOPClassUID = referenced.sop_class
    multiframe = len(referenced.instance_uids) == 1
    image.ReferencedSOPInstanceUID = referenced.instance_uids[0 if multiframe else index]
    if multiframe:
        image.ReferencedFrameNumber = index + 1
    return image


def _observation(voi: Voi, number: int) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = {"body": "EXTERNAL", "lesion": "GTV"}.get(voi.kind, "ORGAN")
    observation.ROIInterpreter = ""
    if voi.code:
        item = code(voi.code["value"], voi.code["scheme"], voi.code["meaning"])
        observation.RTROIIdentificationCodeSequence = Sequence([item])
    return observation
