"""Write a CT series (CT Image Storage)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.write_common import (
    SeriesTags,
    decimal,
    dicom_date,
    dicom_time,
    new_instance,
    orientation,
    position,
    save_whole,
    set_pixels,
    set_values,
)
from TheranosticDoseLib.errors import InputError, OutputError
from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    import SimpleITK as sitk

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def write_ct_series(
    image: sitk.Image, folder: Path, tags: SeriesTags, *, kvp: float = 120.0, tube_current_ma: float = 40.0
) -> list[Path]:
    """Write a CT as one file per slice.

    Parameters
    ----------
    image : SimpleITK.Image
        Hounsfield units, LPS, mm; rounded to whole numbers, stored with slope 1 and intercept -1024.
    folder : pathlib.Path
        Made where it is missing.
    tags : SeriesTags
    kvp, tube_current_ma : float
        Written as they are.

    Returns
    -------
    list of pathlib.Path
        Files in the order of the slices.

    Raises
    ------
    InputError
        For values that 16 bits cannot hold or that are not finite.
    OutputError
        If a file cannot be written.
    """
    values = array_of(image)
    if not np.isfinite(values).all():
        raise InputError("The CT holds NaN or infinite voxels; finite Hounsfield units were expected.")
    if values.min() < -31744 or values.max() > 31743:
        msg = f"The CT goes from {values.min():.5g} to {values.max():.5g}, which is not Hounsfield units."
        raise InputError(msg)
    stored = (np.rint(values) + 1024).astype(np.int16)
    paths: list[Path] = []
    try:
        for index, pixels in enumerate(stored):
            dataset = new_instance(tags, CT_IMAGE_STORAGE, "CT", index)
            set_pixels(dataset, image.GetSize()[1], image.GetSize()[0], image.GetSpacing(), signed=True)
            set_values(dataset, _slice_values(image, index, tags, kvp, tube_current_ma))
            dataset.PixelData = pixels.astype("<i2").tobytes()
            dataset["PixelData"].VR = "OW"
            path = Path(folder) / f"CT_{index + 1:04d}.dcm"
            save_whole(dataset, path)
            paths.append(path)
    except OutputError:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return paths


def _slice_values(image: sitk.Image, index: int, tags: SeriesTags, kvp: float, current_ma: float) -> dict:
    """Return the attributes of one slice."""
    place = position(image, index)
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "AcquisitionDate": dicom_date(tags.datetime),
        "AcquisitionTime": dicom_time(tags.datetime),
        "ContentDate": dicom_date(tags.datetime),
        "ContentTime": dicom_time(tags.datetime),
        "AcquisitionNumber": 1,
        "InstanceNumber": index + 1,
        "PatientPosition": "HFS",
        "ImageOrientationPatient": orientation(image),
        "ImagePositionPatient": place,
        "SliceLocation": place[2],
        "SliceThickness": decimal(image.GetSpacing()[2]),
        "SpacingBetweenSlices": decimal(image.GetSpacing()[2]),
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "KVP": decimal(kvp),
        "XRayTubeCurrent": round(current_ma),
        "ConvolutionKernel": "SOFT",
        "WindowCenter": "40",
        "WindowWidth": "400",
    }
