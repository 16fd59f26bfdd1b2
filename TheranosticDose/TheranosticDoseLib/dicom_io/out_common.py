"""What all outgoing result objects share: patient, study, references, identifiers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib import __version__
from TheranosticDoseLib.dicom_io.attributes import PATIENT_AND_STUDY
from TheranosticDoseLib.dicom_io.write_common import (
    MANUFACTURER,
    NOT_FOR_CLINICAL_USE,
    decimal,
    dicom_date,
    dicom_time,
)
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of
from TheranosticDoseLib.study import Study

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileDataset

# The character set is that of the new object, not of the old one.
_COPIED = tuple(name for name in PATIENT_AND_STUDY if name != "SpecificCharacterSet")
STAND_IN_CLASS = "1.2.840.10008.5.1.4.1.1.7.3"
"""Multi-frame Grayscale Word Secondary Capture: what images are referred to as that came without DICOM."""
_TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where results belong: the acquisition whose frame of reference they are in.

    Attributes
    ----------
    study : Study
    label : str
        Of the acquisition.
    kind : str
        ``spect`` or ``ct``: the image that the results are derived from.
    now : datetime.datetime
        Time of creation that is written.
    """

    study: Study
    label: str
    kind: str = "spect"
    now: dt.datetime = dataclasses.field(default_factory=dt.datetime.now)

    def __post_init__(self) -> None:
        labels = [acquisition.label for acquisition in self.study.acquisitions]
        if self.label not in labels:
            raise InputError(f"No acquisition {self.label!r} in this study; there are {', '.join(labels)}.")

    @property
    def references(self) -> dict[str, Any]:
        """UIDs of the source series; made up from the inputs where the study did not come from DICOM."""
        known = self.study.dicom.get("acquisitions", {}).get(self.label, {})
        found = dict(known.get(self.kind) or known.get("spect") or {})
        found.setdefault("study", self.study_uid)
        found.setdefault("series", self.uid("series", self.label, self.kind))
        found.setdefault("frame_of_reference", "")
        found["frame_of_reference"] = found["frame_of_reference"] or self.uid(
            "frame of reference", self.label
        )
        found.setdefault("instances", [])
        found.setdefault("sop_class", "")
        return found

    @property
    def study_uid(self) -> str:
        """Study Instance UID of the patient's study."""
        known = self.study.dicom.get("acquisitions", {}).get(self.label, {}).get("spect", {}).get("study")
        return str(known or self.study.dicom.get("StudyInstanceUID") or self.uid("study"))

    def uid(self, *parts: object) -> str:
        """Return an identifier that is the same for the same inputs and ``parts``."""
        from pydicom.uid import generate_uid

        inputs = hashlib.sha256(repr(sorted(self.study.inputs.items())).encode()).hexdigest()
        return str(generate_uid(entropy_srcs=[inputs, *(str(part) for part in parts)]))


def digest(image: sitk.Image) -> str:
    """Return a hash of the voxels: other results must not get the same UID."""
    return hashlib.sha256(np.ascontiguousarray(array_of(image)).tobytes()).hexdigest()


def study_module(place: Place) -> dict[str, Any]:
    """Return patient and study attributes by keyword, type 2 ones empty where unknown."""
    values: dict[str, Any] = dict.fromkeys((*_TYPE_2, "AccessionNumber", "ReferringPhysicianName"), "")
    values.update(
        {keyword: place.study.dicom[keyword] for keyword in _COPIED if keyword in place.study.dicom}
    )
    values["PatientID"] = values["PatientID"] or place.study.patient_id
    values["StudyInstanceUID"] = place.study_uid
    return values


def result_object(place: Place, sop_class: str, modality: str, description: str, number: int, *parts: object):
    """Return a dataset with file meta information and the patient, study, series and equipment modules."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = place.uid("instance", modality, number, *parts)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    for keyword, value in study_module(place).items():
        setattr(dataset, keyword, value)
    dataset.Modality = modality
    dataset.SeriesInstanceUID = place.uid("series", modality, number, *parts)
    dataset.SeriesNumber, dataset.SeriesDescription = number, description[:64]
    dataset.InstanceNumber = 1
    dataset.FrameOfReferenceUID = place.references["frame_of_reference"]
    dataset.PositionReferenceIndicator = ""
    stamp(dataset, place)
    return dataset


def instance_arguments(place: Place, number: int, *parts: object) -> dict[str, Any]:
    """Return what every highdicom object is told: its identifiers (of ``parts``) and what made it."""
    return {
        "series_instance_uid": place.uid("series", *parts),
        "series_number": number,
        "sop_instance_uid": place.uid("instance", *parts),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "theranostic-dose",
        "software_versions": __version__,
        "device_serial_number": "none",
    }


def stamp(dataset: Dataset, place: Place) -> None:
    """Set equipment and time of creation, and say what this is not."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = "theranostic-dose"
    dataset.SoftwareVersions = [__version__, NOT_FOR_CLINICAL_USE]
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{name}Date", dicom_date(place.now))
        setattr(dataset, f"{name}Time", dicom_time(place.now))
    _settle(dataset, place, place.uid("dimensions", dataset.SOPInstanceUID))


def _settle(dataset: Dataset, place: Place, dimensions: str) -> None:
    """Replace what highdicom draws by chance or takes from the clock: equal results are equal files."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _settle(item, place, dimensions)
        elif element.keyword == "DimensionOrganizationUID":
            element.value = dimensions
        elif element.keyword == "ContributionDateTime":
            element.value = dicom_date(place.now) + dicom_time(place.now)


def source_images(place: Place) -> list[Dataset]:
    """Return references to the source images for a Source Image Sequence."""
    from pydicom.dataset import Dataset

    from TheranosticDoseLib.dicom_io.write_common import code

    items = []
    for instance in place.references["instances"]:
        item = Dataset()
        item.ReferencedSOPClassUID = place.references["sop_class"]
        item.ReferencedSOPInstanceUID = instance
        item.PurposeOfReferenceCodeSequence = [
            code("121322", "DCM", "Source image for image processing operation")
        ]
        items.append(item)
    return items


def stand_ins(place: Place, grid: sitk.Image) -> list[Dataset]:
    """Return datasets that stand for the source images where highdicom wants those: one for each slice or file."""
    references = place.references
    instances = references["instances"] or [place.uid("instance", place.label, place.kind)]
    sop_class = references["sop_class"] or STAND_IN_CLASS
    count = grid.GetSize()[2]
    datasets = []
    for index, instance in enumerate(instances):
        dataset = _stand_in(place, grid, instance, sop_class)
        if len(instances) == count:
            corner = grid.TransformIndexToPhysicalPoint((0, 0, index))
            dataset.ImagePositionPatient = [decimal(value) for value in corner]
        else:
            _add_functional_groups(dataset, grid)
        datasets.append(dataset)
    return datasets


def _stand_in(place: Place, grid: sitk.Image, instance: str, sop_class: str) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    dataset = FileDataset("", {}, file_meta=meta)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in study_module(place).items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.SeriesInstanceUID = place.references["series"]
    dataset.FrameOfReferenceUID = place.references["frame_of_reference"]
    dataset.PositionReferenceIndicator = ""
    dataset.Modality = "CT" if place.kind == "ct" else "NM"
    columns, rows, _ = grid.GetSize()
    dataset.Rows, dataset.Columns = rows, columns
    direction = grid.GetDirection()
    dataset.ImageOrientationPatient = [decimal(direction[i]) for i in (0, 3, 6, 1, 4, 7)]
    dataset.ImagePositionPatient = [decimal(value) for value in grid.GetOrigin()]
    dataset.PixelSpacing = [decimal(grid.GetSpacing()[1]), decimal(grid.GetSpacing()[0])]
    dataset.SliceThickness = decimal(grid.GetSpacing()[2])
    return dataset


def _add_functional_groups(dataset: Dataset, grid: sitk.Image) -> None:
    """Give the stand-in of a multi-frame object the geometry where highdicom looks for it."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def item(sequence: str, **values: Any) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for keyword, value in values.items():
            setattr(inner, keyword, value)
        setattr(outer, sequence, Sequence([inner]))
        return outer

    shared = item(
        "PixelMeasuresSequence",
        PixelSpacing=dataset.PixelSpacing,
        SliceThickness=dataset.SliceThickness,
        SpacingBetweenSlices=dataset.SliceThickness,
    )
    shared.update(item("PlaneOrientationSequence", ImageOrientationPatient=dataset.ImageOrientationPatient))
    corners = (grid.TransformIndexToPhysicalPoint((0, 0, index)) for index in range(grid.GetSize()[2]))
    frames = [
        item("PlanePositionSequence", ImagePositionPatient=[decimal(v) for v in corner]) for corner in corners
    ]
    dataset.NumberOfFrames = len(frames)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)


def as_volume(image: sitk.Image, array: np.ndarray, place: Place) -> Any:
    """Return a highdicom volume of ``array`` ``(z, y, x[, channel])`` on the grid of ``image``."""
    import highdicom as hd

    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = axes[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    channels = {"channels": {"SegmentNumber": list(range(1, array.shape[3] + 1))}} if array.ndim == 4 else {}
    return hd.Volume(
        array, affine, "PATIENT", frame_of_reference_uid=place.references["frame_of_reference"], **channels
    )
