"""Write a dose map as RTDOSE, and read one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.out_common import Place, digest, result_object, source_images
from TheranosticDoseLib.dicom_io.out_save import save_result
from TheranosticDoseLib.dicom_io.write_common import NOT_FOR_CLINICAL_USE, decimal, orientation, position
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    import SimpleITK as sitk

RT_DOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_PLAN_STORAGE = "1.2.840.10008.5.1.4.1.1.481.5"
_DOSE_TYPES = ("PHYSICAL", "EFFECTIVE", "ERROR")


def write_rtdose(
    dose_gy: sitk.Image,
    path: Path,
    place: Place,
    *,
    description: str = "Absorbed dose",
    dose_type: str = "PHYSICAL",
    number: int = 9001,
    deidentify: bool = False,
) -> Path:
    """Write a dose map as RTDOSE with 32 bits a voxel.

    The scaling is a short decimal number just above ``maximum / (2**32 - 1)``.  Every float32
    value above 1/250 of the maximum comes back bit for bit, smaller ones within 1.2e-10 of the
    maximum.

    Parameters
    ----------
    dose_gy : SimpleITK.Image
        Gy; no negative voxels.
    path : pathlib.Path
    place : Place
        Patient, study, frame of reference and source images.
    description : str
        Also the Dose Comment.
    dose_type : str
        ``PHYSICAL``, ``EFFECTIVE`` (BED, EQD2) or ``ERROR`` (an uncertainty).
    number : int
        Series number.
    deidentify : bool

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        For negative or infinite voxels or an unknown type.
    OutputError
        If the file cannot be written.
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    values = array_of(dose_gy).astype(np.float64)
    if dose_type not in _DOSE_TYPES:
        raise InputError(f"dose_type is {dose_type!r}; expected one of {', '.join(_DOSE_TYPES)}.")
    if not np.isfinite(values).all() or values.min() < 0:
        raise InputError(
            "The dose map holds negative, infinite or NaN voxels and cannot be written as RTDOSE."
        )
    scaling = dose_grid_scaling(float(values.max()))
    dataset = result_object(
        place, RT_DOSE_STORAGE, "RTDOSE", description, number, digest(dose_gy), description
    )
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    columns, rows, frames = dose_gy.GetSize()
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit, dataset.PixelRepresentation = 31, 0
    spacing = dose_gy.GetSpacing()
    dataset.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
    dataset.SliceThickness = decimal(spacing[2])
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = orientation(dose_gy), position(dose_gy, 0)
    dataset.FrameIncrementPointer = 0x3004000C
    dataset.GridFrameOffsetVector = [decimal(index * spacing[2]) for index in range(frames)]
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", dose_type, "PLAN"
    dataset.DoseGridScaling = scaling
    dataset.DoseComment = f"{description}. {NOT_FOR_CLINICAL_USE}."[:64]
    dataset.OperatorsName = ""
    # The standard wants the plan of a PLAN dose.  There is none in radionuclide therapy: the reference
    # carries the UID of the administration, so that doses of one cycle share it.
    plan = Dataset()
    plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = RT_PLAN_STORAGE, place.uid("administration")
    dataset.ReferencedRTPlanSequence = Sequence([plan])
    if sources := source_images(place):
        dataset.SourceImageSequence = sources
    dataset.PixelData = np.rint(values / float(scaling)).astype("<u4").tobytes()
    dataset["PixelData"].VR = "OW"
    return save_result(dataset, Path(path), deidentify)


def dose_grid_scaling(maximum: float) -> str:
    """Return the scaling as a decimal string: three digits, rounded up, so that it is exact in the file."""
    from decimal import ROUND_CEILING, Context, Decimal

    if maximum <= 0:
        return "1"
    exact = Context(prec=3, rounding=ROUND_CEILING).create_decimal(Decimal(maximum) / (2**32 - 1))
    return f"{exact:.2E}"


def read_rtdose(path: Path) -> sitk.Image:
    """Return an RTDOSE as a float32 image in Gy (or cGy, relative: see the error).

    Raises
    ------
    InputError
        If the file is no dose in Gy on an even grid; the text names the tag.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    from TheranosticDoseLib.dicom_io.pixels import stored_pixels
    from TheranosticDoseLib.dicom_io.scan import Header, number_of, numbers_of, quiet_pydicom, value_of
    from TheranosticDoseLib.dicom_io.volume import Stack, plane_of

    path = Path(path)
    with quiet_pydicom():
        try:
            header = Header(path, path.name, pydicom.dcmread(path, defer_size=4096))
        except (InvalidDicomError, OSError) as error:
            raise InputError(f"{path.name}: cannot be read as DICOM ({error}).") from None
        dataset = header.dataset
        if str(value_of(dataset, "SOPClassUID", "")) != RT_DOSE_STORAGE:
            raise InputError(f"{path.name}: is no RTDOSE.")
        scaling = number_of(dataset, "DoseGridScaling")
        if not scaling or scaling <= 0 or str(value_of(dataset, "DoseUnits", "")).upper() != "GY":
            raise InputError(
                f"{path.name}: (3004,000E) DoseGridScaling above 0 and (3004,0002) DoseUnits GY are needed."
            )
        pixels = stored_pixels(header, {})
        plane = plane_of(header, dataset)
        offsets = numbers_of(dataset, "GridFrameOffsetVector", len(pixels)) or []
        steps = np.diff(offsets)
        if not steps.size or steps[0] == 0 or np.abs(steps - steps[0]).max() > 1e-2:
            raise InputError(f"{path.name}: (3004,000C) GridFrameOffsetVector is missing or uneven.")
        if steps[0] < 0:
            pixels = pixels[::-1]
            import dataclasses

            plane = dataclasses.replace(
                plane, position=plane.position + plane.normal * (offsets[-1] - offsets[0])
            )
        return Stack(((header, 0),) * len(pixels), plane, abs(float(steps.mean()))).image(pixels * scaling)
