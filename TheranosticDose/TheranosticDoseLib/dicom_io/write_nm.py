"""Write a reconstructed SPECT as NM multi-frame (Nuclear Medicine Image Storage, RECON TOMO)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.write_common import (
    SeriesTags,
    code,
    decimal,
    dicom_date,
    dicom_datetime,
    dicom_time,
    new_instance,
    orientation,
    position,
    save_whole,
    set_pixels,
    set_values,
)
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

NM_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
NUCLIDE_CODES = {
    "Lu-177": ("447553000", "SCT", "^177^Lutetium"),
    "Y-90": ("14691008", "SCT", "^90^Yttrium"),
    "I-131": ("1368003", "SCT", "^131^Iodine"),
}
"""DICOM PS3.16 CID 18."""
ENERGY_WINDOWS_KEV = {"Lu-177": (187.6, 229.2), "I-131": (327.6, 400.4)}
"""Main photopeak windows: 208.4 keV with 20 % (EANM/MIRD 177Lu guideline), 364 keV with 20 %."""


@dataclass(frozen=True)
class NmScan:
    """How a SPECT was acquired and what was injected.

    Attributes
    ----------
    unit : str
        ``BQML`` (Bq/mL at the start of the acquisition) or ``CNTS``.
    duration_s : float
        Duration of the whole acquisition.
    nuclide, radiopharmaceutical : str
    activity_mbq : float or None
        Injected; left out of the file where ``None``.
    injection : datetime.datetime or None
    half_life_s : float or None
    projections : int
        Of both heads together.
    """

    unit: str = "BQML"
    duration_s: float = 1800.0
    nuclide: str = "Lu-177"
    radiopharmaceutical: str = ""
    activity_mbq: float | None = None
    injection: dt.datetime | None = None
    half_life_s: float | None = None
    projections: int = 120


def write_nm_multiframe(image: sitk.Image, path: Path, tags: SeriesTags, scan: NmScan) -> Path:
    """Write a SPECT as one NM multi-frame file.

    Counts are stored as whole numbers.  Bq/mL are scaled to 16 bits; the scale is written both
    as Rescale Slope (what most sites have) and as Real World Value Mapping (what the standard has).

    Parameters
    ----------
    image : SimpleITK.Image
        In ``scan.unit``, LPS, mm.
    path : pathlib.Path
    tags : SeriesTags
    scan : NmScan

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        For negative, infinite or NaN voxels, or a unit that is neither BQML nor CNTS.
    OutputError
        If the file cannot be written.
    """
    if scan.unit not in ("BQML", "CNTS"):
        raise InputError(f"The unit of an NM image is BQML or CNTS, not {scan.unit!r}.")
    values = array_of(image)
    if not np.isfinite(values).all() or values.min() < 0:
        raise InputError("The SPECT holds negative, infinite or NaN voxels and cannot be written as NM.")
    highest = float(values.max())
    slope = highest / 65535.0 if highest > 0 else 1.0
    if scan.unit == "CNTS":
        slope = 1.0 if highest <= 65535 else slope
    slope = float(decimal(slope))
    stored = np.clip(np.rint(values / slope), 0, 65535).astype("<u2")
    dataset = new_instance(tags, NM_IMAGE_STORAGE, "NM", 1)
    set_pixels(dataset, image.GetSize()[1], image.GetSize()[0], image.GetSpacing(), signed=False)
    _set_image(dataset, image, tags, scan)
    _set_isotope(dataset, tags, scan)
    _set_frames(dataset, image)
    _set_scale(dataset, slope, scan.unit)
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    save_whole(dataset, Path(path))
    return Path(path)


def _set_image(dataset: Dataset, image: sitk.Image, tags: SeriesTags, scan: NmScan) -> None:
    from pydicom.tag import Tag

    frames = image.GetSize()[2]
    set_values(
        dataset,
        {
            "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            "AcquisitionDate": dicom_date(tags.datetime),
            "AcquisitionTime": dicom_time(tags.datetime),
            "AcquisitionDateTime": dicom_datetime(tags.datetime),
            "ContentDate": dicom_date(tags.datetime),
            "ContentTime": dicom_time(tags.datetime),
            "InstanceNumber": 1,
            "CountsAccumulated": "",
            "NumberOfFrames": frames,
            "FrameIncrementPointer": Tag(0x0054, 0x0080),
            "NumberOfSlices": frames,
            "SliceVector": list(range(1, frames + 1)),
            "SliceThickness": decimal(image.GetSpacing()[2]),
            "SpacingBetweenSlices": decimal(image.GetSpacing()[2]),
            "Units": scan.unit,
            "CorrectedImage": ["ATTN", "SCAT", "UNIF", "COR", "LIN", "DCAL"][
                : 6 if scan.unit == "BQML" else 5
            ],
            "DecayCorrection": "START",
            "ActualFrameDuration": round(scan.duration_s * 1000.0),
            "AcquisitionTerminationCondition": "TIME",
        },
    )


def _set_isotope(dataset: Dataset, tags: SeriesTags, scan: NmScan) -> None:
    """Set energy window, radiopharmaceutical, patient orientation and rotation."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    window, window_range = Dataset(), Dataset()
    low, high = ENERGY_WINDOWS_KEV.get(scan.nuclide, (10.0, 1000.0))
    window_range.EnergyWindowLowerLimit, window_range.EnergyWindowUpperLimit = decimal(low), decimal(high)
    window.EnergyWindowRangeSequence = Sequence([window_range])
    window.EnergyWindowName = f"{scan.nuclide} {0.5 * (low + high):.0f} keV"
    dataset.NumberOfEnergyWindows = 1
    dataset.EnergyWindowInformationSequence = Sequence([window])
    item = Dataset()
    item.Radiopharmaceutical = scan.radiopharmaceutical
    item.RadionuclideCodeSequence = Sequence([_nuclide_code(scan.nuclide)])
    if scan.activity_mbq is not None:
        # NM gives the dose in MBq (PS3.3 C.8.4.10), PET in Bq.
        item.RadionuclideTotalDose = decimal(scan.activity_mbq)
    if scan.injection is not None:
        item.RadiopharmaceuticalStartTime = dicom_time(scan.injection)
        item.RadiopharmaceuticalStartDateTime = dicom_datetime(scan.injection)
    if scan.half_life_s is not None:
        item.RadionuclideHalfLife = decimal(scan.half_life_s)
    dataset.RadiopharmaceuticalInformationSequence = Sequence([item])
    dataset.PatientOrientationCodeSequence = Sequence([code("F-10450", "SRT", "recumbent")])
    dataset.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = Sequence(
        [code("F-10340", "SRT", "supine")]
    )
    dataset.PatientGantryRelationshipCodeSequence = Sequence([code("F-10470", "SRT", "headfirst")])
    rotation = Dataset()
    # Two opposite heads see the patient at once: each turns by half a circle.
    rotation.RotationDirection, rotation.ScanArc = "CC", "180"
    rotation.NumberOfFramesInRotation = scan.projections // 2
    rotation.AngularStep = decimal(360.0 / scan.projections)
    rotation.ActualFrameDuration = round(scan.duration_s * 1000.0 / (scan.projections // 2))
    rotation.StartAngle = "0"
    dataset.NumberOfRotations = 1
    dataset.RotationInformationSequence = Sequence([rotation])


def _nuclide_code(nuclide: str) -> Dataset:
    value = NUCLIDE_CODES.get(nuclide)
    return code(*value) if value else code(nuclide, "99TDOSIM", nuclide)


def _set_frames(dataset: Dataset, image: sitk.Image) -> None:
    """Set the detector, which carries the geometry of all frames."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    detector = Dataset()
    detector.CollimatorType = "PARA"
    detector.CollimatorGridName = "MEGP"
    detector.ImageOrientationPatient = orientation(image)
    detector.ImagePositionPatient = position(image, 0)
    dataset.NumberOfDetectors = 1
    dataset.DetectorInformationSequence = Sequence([detector])


def _set_scale(dataset: Dataset, slope: float, unit: str) -> None:
    """Write what a stored value of 1 means, twice: Rescale Slope and Real World Value Mapping."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    if unit == "BQML" or slope != 1.0:
        dataset.RescaleSlope, dataset.RescaleIntercept = decimal(slope), "0"
    if unit != "BQML":
        return
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped = 0
    mapping.RealWorldValueLastValueMapped = 65535
    mapping["RealWorldValueFirstValueMapped"].VR = "US"
    mapping["RealWorldValueLastValueMapped"].VR = "US"
    mapping.RealWorldValueIntercept = 0.0
    mapping.RealWorldValueSlope = slope
    mapping.LUTExplanation = "Activity concentration"
    mapping.LUTLabel = "BQML"
    mapping.MeasurementUnitsCodeSequence = Sequence([code("Bq/ml", "UCUM", "Becquerels/milliliter")])
    dataset.RealWorldValueMappingSequence = Sequence([mapping])
