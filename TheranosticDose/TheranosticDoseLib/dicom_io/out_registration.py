"""Write the registration of an acquisition to the reference as a spatial registration object, and read it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.dicom_io.out_common import Place, result_object
from TheranosticDoseLib.dicom_io.out_save import save_result
from TheranosticDoseLib.dicom_io.write_common import code, decimal
from TheranosticDoseLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
DEFORMABLE_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.3"


def write_spatial_registration(
    transform: sitk.Transform,
    path: Path,
    place: Place,
    moving: Place,
    *,
    grid: sitk.Image | None = None,
    description: str = "Registration",
    number: int = 9040,
    deidentify: bool = False,
) -> Path:
    """Write a transform as a (deformable) spatial registration object.

    A linear transform becomes a matrix; any other is sampled as displacement vectors (float32)
    at the voxel centres of ``grid``.

    Parameters
    ----------
    transform : SimpleITK.Transform
        Maps points of the reference to points of the moving image, mm.
    path : pathlib.Path
    place, moving : Place
        Reference and moving acquisition.
    grid : SimpleITK.Image, optional
        Of the reference; needed for a transform that is not linear.
    description : str
    number : int
        Series number.
    deidentify : bool

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If the transform is not linear and no grid is given, or a matrix cannot be inverted.
    OutputError
        If the file cannot be written.
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    linear = _matrix(transform)
    sop_class = DEFORMABLE_REGISTRATION if linear is None else SPATIAL_REGISTRATION
    if linear is None and grid is None:
        raise InputError("A transform that is not linear needs the grid of the reference to be written.")
    vectors = None if linear is not None else _grid_item(transform, grid)
    unique = repr(linear.tolist()) if vectors is None else hashlib.sha256(vectors.VectorGridData).hexdigest()
    dataset = result_object(place, sop_class, "REG", description, number, moving.label, unique)
    dataset.ContentLabel, dataset.ContentDescription = "REGISTRATION", description[:64]
    dataset.ContentCreatorName, dataset.Laterality, dataset.DeviceSerialNumber = "", "", "none"
    reference, item = Dataset(), Dataset()
    reference.FrameOfReferenceUID = place.references["frame_of_reference"]
    if linear is not None:
        # The object maps the moving frame of reference to the reference one, against SimpleITK.
        reference.MatrixRegistrationSequence = Sequence([_matrix_item(np.eye(4))])
        item.FrameOfReferenceUID = moving.references["frame_of_reference"]
        item.MatrixRegistrationSequence = Sequence([_matrix_item(_inverse(linear))])
        dataset.RegistrationSequence = Sequence([reference, item])
    else:
        item.SourceFrameOfReferenceUID = moving.references["frame_of_reference"]
        item.DeformableRegistrationGridSequence = Sequence([vectors])
        item.RegistrationTypeCodeSequence = Sequence([code("125024", "DCM", "Image Content-based Alignment")])
        dataset.DeformableRegistrationSequence = Sequence([item])
    for one, where in ((reference, place), (item, moving)):
        if where.references["instances"]:
            one.ReferencedImageSequence = Sequence(_references(where))
    _refer_to(dataset, place, moving)
    return save_result(dataset, Path(path), deidentify)


def _refer_to(dataset: Dataset, place: Place, moving: Place) -> None:
    """List the series that the object refers to, those of other studies apart (PS3.3 C.12.2)."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    own, others = [], []
    for where in (place, moving):
        series = Dataset()
        series.SeriesInstanceUID = where.references["series"]
        series.ReferencedInstanceSequence = Sequence(_references(where))
        if not where.references["instances"]:
            continue
        if where.study_uid == place.study_uid:
            own.append(series)
        else:
            study = Dataset()
            study.StudyInstanceUID = where.study_uid
            study.ReferencedSeriesSequence = Sequence([series])
            others.append(study)
    if own:
        dataset.ReferencedSeriesSequence = Sequence(own)
    if others:
        dataset.StudiesContainingOtherReferencedInstancesSequence = Sequence(others)


def _matrix(transform: sitk.Transform) -> np.ndarray | None:
    """Return the 4 x 4 matrix of a linear transform, ``None`` for another one."""
    if not transform.IsLinear():
        return None
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        # A long lever keeps the digits of a rotation beside a large translation.
        point = np.zeros(3)
        point[axis] = 1000.0
        matrix[:3, axis] = (np.array(transform.TransformPoint(point.tolist())) - origin) / 1000.0
    return matrix


def _inverse(matrix: np.ndarray) -> np.ndarray:
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise InputError("The matrix of the registration cannot be inverted.")
    return np.linalg.inv(matrix)


def _matrix_item(matrix: np.ndarray) -> Dataset:
    """Return a matrix registration."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    inner, outer = Dataset(), Dataset()
    inner.FrameOfReferenceTransformationMatrix = [decimal(value) for value in matrix.ravel()]
    square = matrix[:3, :3]
    rigid = np.allclose(square @ square.T, np.eye(3), atol=1e-6)
    inner.FrameOfReferenceTransformationMatrixType = "RIGID" if rigid else "AFFINE"
    outer.MatrixSequence = Sequence([inner])
    outer.RegistrationTypeCodeSequence = Sequence([code("125024", "DCM", "Image Content-based Alignment")])
    return outer


def _grid_item(transform: sitk.Transform, grid: sitk.Image) -> Dataset:
    """Return the displacement at each voxel centre of ``grid``, as the object wants it (from reference to moving)."""
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat32,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )
    item = Dataset()
    direction = grid.GetDirection()
    item.ImageOrientationPatient = [decimal(direction[i]) for i in (0, 3, 6, 1, 4, 7)]
    item.ImagePositionPatient = [decimal(value) for value in grid.GetOrigin()]
    item.GridDimensions = list(grid.GetSize())
    item.GridResolution = [float(value) for value in grid.GetSpacing()]
    item.VectorGridData = np.ascontiguousarray(sitk.GetArrayViewFromImage(field), "<f4").tobytes()
    return item


def _references(place: Place) -> list[Dataset]:
    """Return the images of an acquisition."""
    from pydicom.dataset import Dataset

    items = []
    for instance in place.references["instances"]:
        item = Dataset()
        item.ReferencedSOPClassUID = place.references["sop_class"]
        item.ReferencedSOPInstanceUID = instance
        items.append(item)
    return items


def read_spatial_registration(path: Path) -> sitk.Transform:
    """Return the transform of a registration object: points of the reference to points of the moving image.

    Raises
    ------
    InputError
        If the file is no registration of two frames of reference.
    """
    import pydicom
    import SimpleITK as sitk
    from pydicom.errors import InvalidDicomError

    path = Path(path)
    try:
        dataset = pydicom.dcmread(path)
    except (InvalidDicomError, OSError) as error:
        raise InputError(f"{path.name}: cannot be read as DICOM ({error}).") from None
    if dataset.SOPClassUID == DEFORMABLE_REGISTRATION:
        return sitk.DisplacementFieldTransform(_field(dataset.DeformableRegistrationSequence[0]))
    items = list(dataset.get("RegistrationSequence", []))
    moving = [item for item in items if item.get("FrameOfReferenceUID") != dataset.get("FrameOfReferenceUID")]
    if dataset.SOPClassUID != SPATIAL_REGISTRATION or not items:
        raise InputError(f"{path.name}: is no spatial registration.")
    matrix = np.eye(4)
    for step in (moving or items[-1:])[0].MatrixRegistrationSequence[0].MatrixSequence:
        matrix = np.array(step.FrameOfReferenceTransformationMatrix, float).reshape(4, 4) @ matrix
    inverse = _inverse(matrix)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(inverse[:3, :3].ravel().tolist())
    transform.SetTranslation(inverse[:3, 3].tolist())
    return transform


def _field(item: Any) -> sitk.Image:
    """Return the displacement field of a deformable registration."""
    import SimpleITK as sitk

    grid = item.DeformableRegistrationGridSequence[0]
    columns, rows, slices = (int(value) for value in grid.GridDimensions)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(slices, rows, columns, 3)
    field = sitk.GetImageFromArray(vectors.astype(np.float64), isVector=True)
    field.SetSpacing([float(value) for value in grid.GridResolution])
    field.SetOrigin([float(value) for value in grid.ImagePositionPatient])
    row, column = (np.array(grid.ImageOrientationPatient, float)[i : i + 3] for i in (0, 3))
    field.SetDirection(np.stack([row, column, np.cross(row, column)], axis=1).ravel().tolist())
    return field
