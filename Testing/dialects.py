"""Synthetic DICOM files in the dialects of the vendors, small and with known truth.

Each writer takes a folder and returns nothing but files; the truth is :data:`ACTIVITY` and
the keyword arguments.  The shapes follow what cameras and workstations write: NM multi-frame
with the position in the detector sequence (Siemens, GE, Mediso), PET-class slices (MIM, Philips).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NM, PT, CT = "1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
INJECTION = dt.datetime(2026, 3, 2, 10, 0, 0)
INJECTED_MBQ = 7400.0
HALF_LIFE_S = 574300.8
SHAPE, SPACING = (10, 12, 14), (4.0, 4.0, 5.0)
ORIGIN = (-26.0, -22.0, 100.0)


def activity(scale: float = 1.0) -> np.ndarray:
    """Return Bq/mL ``(z, y, x)``, without any symmetry, about 10 % of the administered activity."""
    z, y, x = np.indices(SHAPE)
    values = 1.0 + x + 3.0 * y + 7.0 * z + 40.0 * ((x > 9) & (y < 4) & (z > 6))
    total_mbq = values.sum() * np.prod(SPACING) / 1000 * 1e-6
    return values * scale * 0.1 * INJECTED_MBQ / total_mbq


def uid(*parts: object) -> str:
    """Return the same UID for the same words."""
    return str(generate_uid(entropy_srcs=["dialects", *map(str, parts)]))


def new(
    sop_class: str, modality: str, study: str, series: str, instance: object, start: dt.datetime
) -> FileDataset:
    """Return an object with what all objects share."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = uid(study, series, instance)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.PatientID, ds.PatientName = "P1", "Test^Patient"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(study), uid(study, series)
    ds.FrameOfReferenceUID = uid(study, "frame")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber = modality, series, 1
    ds.StudyDate, ds.StudyTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S")
    ds.AcquisitionDate, ds.AcquisitionTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S.%f")
    # Exported a week later: whoever takes these for the scan is wrong.
    later = start + dt.timedelta(days=7)
    ds.SeriesDate, ds.SeriesTime = later.strftime("%Y%m%d"), later.strftime("%H%M%S")
    ds.ContentDate, ds.ContentTime = later.strftime("%Y%m%d"), later.strftime("%H%M%S")
    return ds


def pixels(
    ds: Dataset, stored: np.ndarray, spacing: tuple[float, float] = SPACING[:2], signed: bool = False
) -> None:
    """Set 16-bit grey pixels of one or several frames."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.PixelSpacing = [spacing[1], spacing[0]]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, int(signed)
    ds.PixelData = np.ascontiguousarray(stored, "<i2" if signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"


def radiopharmaceutical(
    dose: float | None, start: dt.datetime | None, nuclide: str = "^177^Lutetium"
) -> Dataset:
    """Return an item of the radiopharmaceutical sequence."""
    item, code = Dataset(), Dataset()
    if dose is not None:
        item.RadionuclideTotalDose = f"{dose:.10g}"
    if start is not None:
        item.RadiopharmaceuticalStartDateTime = start.strftime("%Y%m%d%H%M%S.%f")
    item.RadionuclideHalfLife = str(HALF_LIFE_S)
    item.Radiopharmaceutical = "177Lu-DOTATATE"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-167A9", "SRT", nuclide
    item.RadionuclideCodeSequence = Sequence([code])
    return item


def nm(
    values: np.ndarray,
    start: dt.datetime,
    *,
    study: str = "s1",
    series: str = "NM",
    spacing_sign: int = 1,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    position: tuple[float, float, float] = ORIGIN,
    dose: float | None = INJECTED_MBQ,
    injection: dt.datetime | None = INJECTION,
    frames_in_rotation: int = 60,
    frame_ms: int = 20000,
) -> FileDataset:
    """Return an NM multi-frame object of stored values, one after another as given."""
    ds = new(NM, "NM", study, series, 1, start)
    ds.ImageType = ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"]
    pixels(ds, values)
    frames = values.shape[0]
    ds.NumberOfFrames = ds.NumberOfSlices = frames
    ds.SliceVector = list(range(1, frames + 1))
    ds.SliceThickness, ds.SpacingBetweenSlices = SPACING[2], spacing_sign * SPACING[2]
    detector = Dataset()
    detector.ImageOrientationPatient, detector.ImagePositionPatient = list(orientation), list(position)
    ds.DetectorInformationSequence, ds.NumberOfDetectors = Sequence([detector]), 2
    rotation = Dataset()
    rotation.ScanArc, rotation.AngularStep = "180", "3"
    rotation.ActualFrameDuration, rotation.NumberOfFramesInRotation = frame_ms, frames_in_rotation
    ds.RotationInformationSequence = Sequence([rotation])
    ds.RadiopharmaceuticalInformationSequence = Sequence([radiopharmaceutical(dose, injection)])
    return ds


def save(ds: FileDataset, folder: Path, name: str) -> Path:
    """Write an object and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    ds.save_as(path, enforce_file_format=True)
    return path


def siemens_xspect(folder: Path, start: dt.datetime, study: str = "s1") -> None:
    """Siemens xSPECT Quant: NM, frames against the normal, Bq/mL through a real-world mapping."""
    values = activity()
    slope = float(values.max() / 60000)
    top = ORIGIN[2] + (SHAPE[0] - 1) * SPACING[2]
    stored = np.rint(values[::-1] / slope)
    ds = nm(stored, start, study=study, series="xSPECT", spacing_sign=-1, position=(*ORIGIN[:2], top))
    ds.Manufacturer, ds.CorrectedImage = "SIEMENS NM", ["UNIF", "ATTN", "SCAT", "DECY"]
    ds.RealWorldValueMappingSequence = Sequence([real_world(slope, "Bq/ml")])
    save(ds, folder, f"{study}_siemens.dcm")


def real_world(slope: float, unit: str) -> Dataset:
    """Return a real-world value mapping."""
    mapping, code = Dataset(), Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 0.0
    mapping.LUTLabel = "quantitative"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
    mapping.MeasurementUnitsCodeSequence = Sequence([code])
    return mapping


def ge_counts(folder: Path, start: dt.datetime, study: str = "s1", counts_scale: float = 1.0) -> None:
    """GE Xeleris: NM in counts without Units, dose in Bq, injection time without a date."""
    counts = np.rint(activity() / activity().max() * 1000 * counts_scale)
    ds = nm(counts, start, study=study, series="IRACRR", dose=INJECTED_MBQ * 1e6, injection=None)
    ds.Manufacturer = "GE MEDICAL SYSTEMS"
    item = ds.RadiopharmaceuticalInformationSequence[0]
    item.RadiopharmaceuticalStartTime = INJECTION.strftime("%H%M%S")
    save(ds, folder, f"{study}_ge.dcm")


def mediso(folder: Path, start: dt.datetime, study: str = "s1") -> None:
    """Mediso: NM, negative slice spacing, nothing about the injection, frames of the rotation overwritten."""
    top = ORIGIN[2] + (SHAPE[0] - 1) * SPACING[2]
    counts = np.rint(activity() / activity().max() * 1000)
    ds = nm(counts[::-1], start, study=study, series="RECON", spacing_sign=-1, position=(*ORIGIN[:2], top))
    ds.Manufacturer = "MEDISO"
    item = ds.RadiopharmaceuticalInformationSequence[0]
    item.RadionuclideTotalDose = "0"
    del item.RadiopharmaceuticalStartDateTime
    ds.RotationInformationSequence[0].NumberOfFramesInRotation = SHAPE[0]
    ds.RotationInformationSequence[0].ScanArc = "360"
    save(ds, folder, f"{study}_mediso.dcm")


def pt_slices(
    values: np.ndarray,
    start: dt.datetime,
    *,
    study: str = "s1",
    series: str = "PT",
    units: str = "BQML",
    decay: str = "START",
    injection: dt.datetime = INJECTION,
    slope: float | None = None,
) -> list[FileDataset]:
    """Return PET-class slices, each with its own rescale slope, in shuffled order of instance numbers."""
    objects = []
    for index, values_of_slice in enumerate(values):
        ds = new(PT, "PT", study, series, index, start)
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        own = slope or float(max(values_of_slice.max(), 1e-6) / 60000)
        pixels(ds, np.rint(values_of_slice / own))
        ds.RescaleSlope, ds.RescaleIntercept = f"{own:.10g}"[:16], "0"
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + index * SPACING[2]]
        ds.SliceThickness, ds.InstanceNumber = SPACING[2], (index * 7) % SHAPE[0] + 1
        ds.Units, ds.DecayCorrection, ds.SeriesType = units, decay, ["STATIC", "IMAGE"]
        ds.ActualFrameDuration = 1_200_000
        ds.RadiopharmaceuticalInformationSequence = Sequence(
            [radiopharmaceutical(INJECTED_MBQ * 1e6, injection)]
        )
        objects.append(ds)
    return objects


def save_all(objects: list[FileDataset], folder: Path, prefix: str) -> None:
    """Write slices."""
    for index, ds in enumerate(objects):
        save(ds, folder, f"{prefix}_{index:03d}.dcm")


def mim(folder: Path, start: dt.datetime, study: str = "s1", decay: str = "ADMIN") -> None:
    """MIM: PET-class slices in Bq/mL, decay-corrected to the injection, 0.9 of the true clock kept in DECY."""
    hours = (start - INJECTION).total_seconds() / 3600
    factor = 2 ** (hours * 3600 / HALF_LIFE_S) if decay == "ADMIN" else 1.0
    objects = pt_slices(activity() * factor, start, study=study, series="MIM SPECT", decay=decay)
    for ds in objects:
        ds.Manufacturer, ds.DecayFactor = "SIEMENS NM", "1"
    save_all(objects, folder, f"{study}_mim")


def philips(folder: Path, start: dt.datetime, study: str = "s1") -> None:
    """Philips: PET-class slices in counts with the private factor to Bq/mL."""
    factor = 12.5
    objects = pt_slices(
        activity() / factor, start, study=study, series="Philips SPECT", units="CNTS", decay="START"
    )
    for ds in objects:
        ds.Manufacturer = "Philips Medical Systems"
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x09, "DS", str(factor))
    save_all(objects, folder, f"{study}_philips")


def ct(
    folder: Path, start: dt.datetime, study: str = "s1", series: str = "CT", frame: str | None = None
) -> None:
    """Write a CT of the same field of view at half the slice distance."""
    z, y, x = np.indices((2 * SHAPE[0] - 1, 24, 28))
    hounsfield = (x + y + z) - 20.0
    for index, values in enumerate(hounsfield):
        ds = new(CT, "CT", study, series, index, start)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        if frame:
            ds.FrameOfReferenceUID = uid(frame)
        pixels(ds, values + 1024, (2.0, 2.0))
        ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [-27.0, -23.0, ORIGIN[2] + index * SPACING[2] / 2]
        ds.SliceThickness, ds.InstanceNumber = SPACING[2] / 2, index + 1
        save(ds, folder, f"{study}_{series}_{index:03d}.dcm")


def rtstruct(
    folder: Path,
    structures: dict[str, list[np.ndarray]],
    start: dt.datetime,
    study: str = "s1",
    series_uid: str = "",
    name: str = "rtstruct.dcm",
) -> Path:
    """Write a structure set of closed contours (N, 3) in mm."""
    ds = new(RTSTRUCT, "RTSTRUCT", study, "RTSTRUCT", name, start)
    ds.StructureSetLabel = "test"
    frame, reference, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = ds.FrameOfReferenceUID
    if series_uid:
        series.SeriesInstanceUID = series_uid
        reference.RTReferencedSeriesSequence = Sequence([series])
    frame.RTReferencedStudySequence = Sequence([reference])
    ds.ReferencedFrameOfReferenceSequence = Sequence([frame])
    ds.StructureSetROISequence, ds.ROIContourSequence = Sequence(), Sequence()
    for number, (title, contours) in enumerate(structures.items(), 1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, title, ds.FrameOfReferenceUID
        item.ReferencedROINumber, item.ContourSequence = number, Sequence()
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = [f"{value:.4f}" for value in np.asarray(points).ravel()]
            item.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(item)
    return save(ds, folder, name)


def dose_report(folder: Path, before_mbq: float, after_mbq: float, start: dt.datetime) -> Path:
    """Write a radiopharmaceutical radiation dose report with the activities of TID 10022."""

    def content(code: str, meaning: str, kind: str) -> Dataset:
        item, name = Dataset(), Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "DCM", meaning
        item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = (
            "CONTAINS",
            kind,
            Sequence([name]),
        )
        return item

    def activity_item(code: str, meaning: str, value: float) -> Dataset:
        item, measured, unit = content(code, meaning, "NUM"), Dataset(), Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "MBq", "UCUM", "MBq"
        measured.NumericValue, measured.MeasurementUnitsCodeSequence = str(value), Sequence([unit])
        item.MeasuredValueSequence = Sequence([measured])
        return item

    ds = new("1.2.840.10008.5.1.4.1.1.88.68", "SR", "s1", "dose report", 1, start)
    moment = content("123003", "Radiopharmaceutical Start DateTime", "DATETIME")
    moment.DateTime = start.strftime("%Y%m%d%H%M%S")
    administration = content("113502", "Radiopharmaceutical Administration", "CONTAINER")
    before = activity_item("113508", "Pre-Administration Measured Activity", before_mbq)
    after = activity_item("113509", "Post-Administration Measured Activity", after_mbq)
    administration.ContentSequence = Sequence([moment, before, after])
    ds.ContentSequence = Sequence([administration])
    return save(ds, folder, "dose_report.dcm")
