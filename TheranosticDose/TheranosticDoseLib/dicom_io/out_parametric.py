"""Write quantitative images (SPECT in Bq/mL, TIA, uncertainty) as parametric maps in float32, and read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TheranosticDoseLib.dicom_io.out_common import (
    Place,
    as_volume,
    digest,
    instance_arguments,
    stamp,
    stand_ins,
)
from TheranosticDoseLib.dicom_io.out_save import save_result
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.geometry import array_of

if TYPE_CHECKING:
    import SimpleITK as sitk

# Quantity: (UCUM unit, its meaning, quantity in words).
QUANTITIES = {
    "activity_concentration": ("Bq/ml", "Becquerels/milliliter", "Activity concentration"),
    "tia": ("MBq.h/ml", "Megabecquerel hours/milliliter", "Time-integrated activity concentration"),
    "absorbed_dose": ("Gy", "Gray", "Absorbed dose"),
    "biologically_effective_dose": ("Gy", "Gray", "Biologically effective dose"),
    "relative_uncertainty": ("1", "no units", "Relative standard uncertainty"),
}


def write_parametric_map(
    image: sitk.Image,
    path: Path,
    place: Place,
    quantity: str,
    *,
    description: str = "",
    number: int = 9010,
    deidentify: bool = False,
) -> Path:
    """Write an image as a parametric map: float32 voxels as they are, with a real-world value mapping.

    Parameters
    ----------
    image : SimpleITK.Image
        In the unit of ``quantity``.
    path : pathlib.Path
    place : Place
    quantity : str
        A key of ``QUANTITIES``.
    description : str
        Of the series; else the quantity.
    number : int
        Series number.
    deidentify : bool

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        For an unknown quantity or voxels that are no numbers.
    OutputError
        If the file cannot be written.
    """
    import highdicom as hd
    from pydicom.sr.coding import Code

    if quantity not in QUANTITIES:
        raise InputError(f"quantity is {quantity!r}; expected one of {', '.join(QUANTITIES)}.")
    values = array_of(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("The image holds infinite or NaN voxels and cannot be written.")
    unit, meaning, words = QUANTITIES[quantity]
    title = description or words
    highest = float(values.max())
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=unit[:16],
        lut_explanation=words,
        unit=hd.sr.CodedConcept(unit, "UCUM", meaning),
        value_range=(float(values.min()), highest),
        slope=1.0,
        intercept=0.0,
        quantity_definition=Code("C-2", "99TDOSIM", words) if quantity == "tia" else None,
    )
    window = hd.VOILUTTransformation(highest / 2 or 0.5, abs(highest) or 1.0, voi_lut_function="LINEAR_EXACT")
    parts = ("PM", number, quantity, title, digest(image))
    dataset = hd.pm.ParametricMap(
        stand_ins(place, image),
        as_volume(image, values, place),
        **instance_arguments(place, number, *parts),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label="RESULT",
        content_description=title[:64],
    )
    stamp(dataset, place)
    dataset.SeriesDescription, dataset.Laterality = title[:64], ""
    return save_result(dataset, Path(path), deidentify)


def read_parametric_map(path: Path) -> tuple[sitk.Image, str]:
    """Return a parametric map after its real-world mapping as float32, and its UCUM unit.

    Raises
    ------
    InputError
        If the file is no parametric map that can be read.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    from TheranosticDoseLib.dicom_io.scan import (
        Header,
        Series,
        item_of,
        kind_of,
        number_of,
        quiet_pydicom,
        value_of,
    )
    from TheranosticDoseLib.dicom_io.units import real_world_mapping
    from TheranosticDoseLib.dicom_io.volume import stack_of

    path = Path(path)
    with quiet_pydicom():
        try:
            header = Header(path, path.name, pydicom.dcmread(path))
        except (InvalidDicomError, OSError) as error:
            raise InputError(f"{path.name}: cannot be read as DICOM ({error}).") from None
        if kind_of(header) != "PM":
            raise InputError(f"{path.name}: is no parametric map.")
        stack = stack_of(Series("PM", str(value_of(header.dataset, "SeriesInstanceUID", "")), (header,)))
        mapping = real_world_mapping(header, 0)
        slope = number_of(mapping, "RealWorldValueSlope")
        if slope is None:
            raise InputError(f"{path.name} (0040,9096) RealWorldValueMappingSequence: missing; export again.")
        pixels = header.dataset.pixel_array.reshape(-1, *stack.first.shape)
        values = pixels[[frame for _, frame in stack.frames]]
        intercept = number_of(mapping, "RealWorldValueIntercept") or 0.0
        unit = str(value_of(item_of(mapping, "MeasurementUnitsCodeSequence"), "CodeValue", ""))
        return stack.image(values if slope == 1 and intercept == 0 else values * slope + intercept), unit
