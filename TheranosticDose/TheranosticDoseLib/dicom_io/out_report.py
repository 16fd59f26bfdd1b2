"""Write the numbers of each VOI as a structured report (TID 1500)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.dicom_io.out_common import Place, instance_arguments, stamp, stand_ins
from TheranosticDoseLib.dicom_io.out_save import save_result
from TheranosticDoseLib.dicom_io.out_seg import tracking_uid, voi_code
from TheranosticDoseLib.dicom_io.write_common import MANUFACTURER, NOT_FOR_CLINICAL_USE
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.study import Voi

if TYPE_CHECKING:
    import SimpleITK as sitk
    from pydicom.dataset import Dataset

# Name of a quantity: (code, scheme, meaning, UCUM unit, meaning of the unit).
MEASUREMENTS = {
    "volume_ml": ("118565006", "SCT", "Volume", "ml", "milliliter"),
    "mass_g": ("118538004", "SCT", "Mass", "g", "gram"),
    "activity_mbq": ("activity", "99TDOSIM", "Activity", "MBq", "Megabecquerel"),
    "tia_mbq_h": ("tia", "99TDOSIM", "Time-integrated activity", "MBq.h", "Megabecquerel hours"),
    "effective_half_life_h": ("teff", "99TDOSIM", "Effective half-life", "h", "hour"),
    "mean_gy": ("dmean", "99TDOSIM", "Mean absorbed dose", "Gy", "Gray"),
    "min_gy": ("dmin", "99TDOSIM", "Minimum absorbed dose", "Gy", "Gray"),
    "max_gy": ("dmax", "99TDOSIM", "Maximum absorbed dose", "Gy", "Gray"),
    "d98_gy": ("d98", "99TDOSIM", "Dose to 98 % of the volume", "Gy", "Gray"),
    "d95_gy": ("d95", "99TDOSIM", "Dose to 95 % of the volume", "Gy", "Gray"),
    "d50_gy": ("d50", "99TDOSIM", "Dose to 50 % of the volume", "Gy", "Gray"),
    "d2_gy": ("d2", "99TDOSIM", "Dose to 2 % of the volume", "Gy", "Gray"),
    "bed_gy": ("bed", "99TDOSIM", "Biologically effective dose", "Gy", "Gray"),
    "eud_gy": ("eud", "99TDOSIM", "Equivalent uniform dose", "Gy", "Gray"),
    "eubed_gy": ("eubed", "99TDOSIM", "Equivalent uniform biologically effective dose", "Gy", "Gray"),
    "eqd2_gy": ("eqd2", "99TDOSIM", "Equieffective dose in 2 Gy fractions", "Gy", "Gray"),
}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number of a VOI.

    Attributes
    ----------
    quantity : str
        A key of ``MEASUREMENTS``.
    value : float
        In the unit of the quantity.
    uncertainty : float or None
        Standard uncertainty (k=1) in the same unit.
    method : str
        For example the dose engine, or the label of the time point.
    """

    quantity: str
    value: float
    uncertainty: float | None = None
    method: str = ""


def write_sr(
    measurements: dict[str, Sequence[Measurement]],
    vois: Sequence[Voi],
    grid: sitk.Image,
    path: Path,
    place: Place,
    *,
    segmentation: Path | None = None,
    description: str = "Dosimetry",
    number: int = 9030,
    deidentify: bool = False,
) -> Path:
    """Write a measurement report with one group for each VOI.

    Parameters
    ----------
    measurements : dict
        VOI name to its numbers.
    vois : sequence of Voi
        In the order of the segments of ``segmentation``.
    grid : SimpleITK.Image
        Grid of the VOIs.
    path : pathlib.Path
    place : Place
    segmentation : pathlib.Path, optional
        The SEG that the groups refer to.  A report that is de-identified refers to a SEG that was
        de-identified by the same process.
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
        For an unknown quantity, a VOI that is not there, or numbers that are not finite.
    OutputError
        If the file cannot be written.
    """
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    names = [voi.name for voi in vois]
    unknown = [name for name in measurements if name not in names]
    if unknown or not measurements:
        raise InputError(f"No VOI of the name {', '.join(unknown) or '(no measurement was given)'}.")
    evidence = stand_ins(place, grid)
    seg = pydicom.dcmread(segmentation) if segmentation is not None else None
    groups = [
        _group(voi, index, measurements[voi.name], seg, place, evidence)
        for index, voi in enumerate(vois, 1)
        if voi.name in measurements
    ]
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=place.uid("device"), name="theranostic-dose", manufacturer_name=MANUFACTURER
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("nm-dosimetry", "99TDOSIM", "Radionuclide therapy dosimetry"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    parts = ("SR", number, description, repr(sorted((k, tuple(v)) for k, v in measurements.items())))
    dataset = hd.sr.Comprehensive3DSR(
        evidence=[*evidence, *([seg] if seg is not None else [])],
        content=report,
        **instance_arguments(place, number, *parts),
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    stamp(dataset, place)
    dataset.SeriesDescription = description[:64]
    dataset.CompletionFlagDescription = NOT_FOR_CLINICAL_USE
    return save_result(dataset, Path(path), deidentify)


def _group(
    voi: Voi,
    number: int,
    measurements: Sequence[Measurement],
    seg: Dataset | None,
    place: Place,
    evidence: list[Dataset],
) -> Any:
    """Return the measurement group of a VOI."""
    import highdicom as hd

    items = []
    for one in measurements:
        items += _items(voi, one)
    if seg is not None:
        source = hd.sr.SourceSeriesForSegmentation(evidence[0].SeriesInstanceUID)
        segment = hd.sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=source)
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(tracking_uid(voi, place), voi.name),
            referenced_segment=segment,
            finding_type=voi_code(voi),
            measurements=items,
        )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(tracking_uid(voi, place), voi.name),
        finding_type=voi_code(voi),
        measurements=items,
    )


def _items(voi: Voi, one: Measurement) -> list[Any]:
    """Return a measurement, and its standard uncertainty as a derived one."""
    import math

    import highdicom as hd
    from pydicom.sr.codedict import codes

    if one.quantity not in MEASUREMENTS:
        raise InputError(f"{voi.name}: quantity {one.quantity!r}; expected one of {', '.join(MEASUREMENTS)}.")
    value, scheme, meaning, unit, unit_meaning = MEASUREMENTS[one.quantity]
    numbers = [one.value] if one.uncertainty is None else [one.value, one.uncertainty]
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"{voi.name}: {one.quantity} is not a number; a report holds finite numbers only.")
    method = hd.sr.CodedConcept(one.method[:16], "99TDOSIM", one.method[:64]) if one.method else None
    name, units = hd.sr.CodedConcept(value, scheme, meaning), hd.sr.CodedConcept(unit, "UCUM", unit_meaning)
    items = [hd.sr.Measurement(name, one.value, units, method=method)]
    if one.uncertainty is not None:
        items.append(
            hd.sr.Measurement(
                name, one.uncertainty, units, method=method, derivation=codes.SCT.StandardDeviation
            )
        )
    return items


def read_sr(path: Path) -> dict[str, list[Measurement]]:
    """Return the measurements of a report that :func:`write_sr` wrote, by VOI name.

    Raises
    ------
    InputError
        If the file is no such report.
    """
    import highdicom as hd
    from pydicom.errors import InvalidDicomError

    try:
        report = hd.sr.srread(str(path))
    except (InvalidDicomError, OSError, RuntimeError, AttributeError, ValueError) as error:
        raise InputError(f"{Path(path).name}: cannot be read as a structured report ({error}).") from None
    groups = (
        report.content.get_volumetric_roi_measurement_groups() + report.content.get_image_measurement_groups()
    )
    quantities = {entry[0]: quantity for quantity, entry in MEASUREMENTS.items()}
    found: dict[str, list[Measurement]] = {}
    for group in groups:
        pairs: dict[tuple[str, str], dict[str, float]] = {}
        for item in group.get_measurements():
            method = item.method.meaning if item.method is not None else ""
            entry = pairs.setdefault((quantities[item.name.value], method), {})
            entry["value" if item.derivation is None else "uncertainty"] = float(item.value)
        name = str(group.tracking_identifier)
        found[name] = [
            Measurement(key[0], e["value"], e.get("uncertainty"), key[1]) for key, e in pairs.items()
        ]
    return found
