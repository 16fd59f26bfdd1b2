"""What all DICOM writers share: identifiers, patient and study attributes, whole files or none."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import OutputError

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileDataset

MANUFACTURER = "SlicerTheranosticDosimetry"
NOT_FOR_CLINICAL_USE = "Research software, not a medical device"


@dataclass(frozen=True)
class SeriesTags:
    """Attributes of a series that the voxels do not tell.

    Attributes
    ----------
    uid_root : tuple of str
        Entropy of all identifiers; the same entropy gives the same identifiers.
    patient_id, patient_name : str
    study : str
        Part of the entropy of the Study Instance UID: one word per study.
    frame_of_reference : str
        The same for series that share a position of the patient.
    series_number : int
    description : str
    datetime : datetime.datetime
        Start of the acquisition.
    study_datetime : datetime.datetime or None
        Start of the study; ``datetime`` where ``None``.
    manufacturer, model : str
    """

    uid_root: tuple[str, ...]
    patient_id: str
    patient_name: str
    study: str
    frame_of_reference: str
    series_number: int
    description: str
    datetime: dt.datetime
    study_datetime: dt.datetime | None = None
    manufacturer: str = MANUFACTURER
    model: str = ""

    def uid(self, *parts: object) -> str:
        """Return the identifier of these parts, always the same for the same entropy."""
        from pydicom.uid import generate_uid

        return str(generate_uid(entropy_srcs=[*self.uid_root, *(str(part) for part in parts)]))

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.uid("study", self.study)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return self.uid("series", self.study, self.series_number)

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID."""
        return self.uid("frame of reference", self.frame_of_reference)


def dicom_date(value: dt.datetime) -> str:
    """Return a date as DICOM writes it (DA)."""
    return value.strftime("%Y%m%d")


def dicom_time(value: dt.datetime) -> str:
    """Return a time as DICOM writes it (TM), with its fraction where there is one."""
    text = value.strftime("%H%M%S")
    return f"{text}.{value.microsecond:06d}" if value.microsecond else text


def dicom_datetime(value: dt.datetime) -> str:
    """Return date and time as DICOM writes them (DT)."""
    return dicom_date(value) + dicom_time(value)


def decimal(value: float) -> str:
    """Return a number as a decimal string (DS) of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a code sequence item."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def new_instance(tags: SeriesTags, sop_class: str, modality: str, instance: object) -> FileDataset:
    """Return a dataset with file meta information and the patient, study, series and equipment modules."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = tags.uid("instance", tags.study, tags.series_number, instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    started = tags.study_datetime or tags.datetime
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": modality,
        "PatientName": tags.patient_name,
        "PatientID": tags.patient_id,
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyInstanceUID": tags.study_uid,
        "StudyID": tags.study[:16],
        "StudyDate": dicom_date(started),
        "StudyTime": dicom_time(started),
        "StudyDescription": tags.study,
        "ReferringPhysicianName": "",
        "AccessionNumber": "",
        "SeriesInstanceUID": tags.series_uid,
        "SeriesNumber": tags.series_number,
        "SeriesDescription": tags.description,
        "SeriesDate": dicom_date(tags.datetime),
        "SeriesTime": dicom_time(tags.datetime),
        "Laterality": "",
        "FrameOfReferenceUID": tags.frame_of_reference_uid,
        "PositionReferenceIndicator": "",
        "Manufacturer": tags.manufacturer,
        "ManufacturerModelName": tags.model,
        "InstitutionName": "",
        "SoftwareVersions": NOT_FOR_CLINICAL_USE,
    }
    set_values(dataset, values)
    return dataset


def set_values(dataset: Dataset, values: dict[str, Any]) -> None:
    """Set attributes by keyword."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def set_pixels(dataset: Dataset, rows: int, columns: int, spacing_mm, signed: bool) -> None:
    """Set the attributes of monochrome 16-bit pixels; the data itself is the caller's."""
    set_values(
        dataset,
        {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": int(signed),
            "PixelSpacing": [decimal(spacing_mm[1]), decimal(spacing_mm[0])],
        },
    )


def orientation(image: sitk.Image) -> list[str]:
    """Return Image Orientation (Patient): the directions of a row and of a column."""
    direction = image.GetDirection()
    return [decimal(direction[i]) for i in (0, 3, 6, 1, 4, 7)]


def position(image: sitk.Image, slice_index: int) -> list[str]:
    """Return Image Position (Patient) of a slice."""
    return [decimal(value) for value in image.TransformIndexToPhysicalPoint((0, 0, int(slice_index)))]


def save_whole(dataset: FileDataset, path: Path) -> None:
    """Write a file under a temporary name and give it its own when it is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(temporary, enforce_file_format=True)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error
