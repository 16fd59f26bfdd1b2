"""What the voxel values of a SPECT mean, and how they become Bq/mL at the start of the acquisition."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

from TheranosticDoseLib.dicom_io.clock import Moment, difference_h, start_of
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.overrides import AcquisitionOverrides
from TheranosticDoseLib.dicom_io.scan import Header, Series, item_of, items_of, number_of, tag_name, value_of
from TheranosticDoseLib.errors import InputError, UnitsError
from TheranosticDoseLib.study import Correction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PREFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_CONCENTRATION = re.compile(r"^([kmg]?)bq/(ml|cc|cm3|cm\^3|l)$")


@dataclasses.dataclass(frozen=True)
class Meaning:
    """Unit of the voxel values after ``factor``, and which mapping of the file leads there."""

    unit: str
    factor: float
    real_world: bool
    source: str
    assumed: str = ""


def meaning_of(series: Series, given: AcquisitionOverrides) -> Meaning:
    """Return what the voxel values are.

    In order: the user, the real-world value mapping, Units, private factors; an NM object
    that says nothing holds counts.

    Raises
    ------
    UnitsError
        For a unit that is neither an activity concentration nor counts.
    """
    if given.unit is not None:
        return Meaning(given.unit, 1.0, False, "set by the user")
    mapped = _real_world_unit(series)
    if mapped is not None:
        return mapped
    units = str(series.get("Units", "") or "").upper().strip()
    source = series.tag("Units")
    if units in ("BQML", "BQ/ML"):
        return Meaning("BQML", 1.0, False, source)
    factor = _philips_factor(series)
    if units == "CNTS" and factor:
        return Meaning(
            "BQML", factor, False, f"{series.first.name} (7053,xx09) Activity Concentration Scale Factor"
        )
    if units in ("CNTS", "PROPCNTS") or (not units and series.kind == "NM"):
        why = "" if units == "CNTS" else "the object names no unit; NM objects hold counts"
        return Meaning("CNTS", 1.0, False, source if units else series.first.name, why)
    if units == "CPS":
        return Meaning("CPS", 1.0, False, source)
    what = f"is {units!r}" if units else "is missing"
    raise UnitsError(
        f"{source} {what}; voxel values must be BQML or CNTS: export in Bq/mL, or set unit for this acquisition."
    )


def _real_world_unit(series: Series) -> Meaning | None:
    """Return the unit of a real-world value mapping, where it is one of activity or counts."""
    mapping = real_world_mapping(series.first, 0)
    if mapping is None:
        return None
    code = item_of(mapping, "MeasurementUnitsCodeSequence")
    text = str(value_of(code, "CodeValue", "") or "").strip()
    source = series.tag("RealWorldValueMappingSequence")
    match = _CONCENTRATION.match(text.lower().replace(" ", ""))
    if match:
        return Meaning("BQML", _PREFIX[match[1]] * (1e-3 if match[2] == "l" else 1.0), True, source)
    if text.lower() in ("{counts}", "{count}", "counts", "cnts"):
        return Meaning("CNTS", 1.0, True, source)
    return None


def real_world_mapping(header: Header, frame: int) -> Dataset | None:
    """Return the real-world mapping of a frame that has a slope; one of activity is preferred."""
    dataset = header.dataset
    groups = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    holders = [dataset, item_of(dataset, "SharedFunctionalGroupsSequence")]
    if frame < len(groups):
        holders.insert(0, groups[frame])
    found = []
    for holder in holders:
        found += [
            m
            for m in items_of(holder, "RealWorldValueMappingSequence")
            if number_of(m, "RealWorldValueSlope")
        ]
    for mapping in found:
        code = item_of(mapping, "MeasurementUnitsCodeSequence")
        if "bq" in str(value_of(code, "CodeValue", "")).lower():
            return mapping
    return found[0] if found else None


def _philips_factor(series: Series) -> float | None:
    """Return the private factor to Bq/mL that Philips writes beside counts."""
    dataset = series.first.dataset
    try:
        block = dataset.private_block(0x7053, "Philips PET Private Group")
        value = float(block[0x09].value)
    except Exception:  # noqa: BLE001 - absent or unreadable alike
        return None
    return value if value > 0 and math.isfinite(value) else None


def rescale_of(header: Header, frame: int, meaning: Meaning) -> tuple[float, float]:
    """Return slope and intercept from stored values to ``meaning.unit``."""
    if meaning.real_world:
        mapping = real_world_mapping(header, frame)
        slope = number_of(mapping, "RealWorldValueSlope")
        intercept = number_of(mapping, "RealWorldValueIntercept") or 0.0
        tag = "RealWorldValueSlope"
    else:
        slope, intercept, tag = *linear_rescale(header, frame), "RescaleSlope"
    if slope is None or slope == 0:
        raise InputError(f"{header.name} {tag_name(tag)} is missing or zero; export again.")
    return slope * meaning.factor, intercept * meaning.factor


def linear_rescale(header: Header, frame: int = 0) -> tuple[float | None, float]:
    """Return Rescale Slope and Intercept of a frame; 1 and 0 where the object has neither."""
    holders = [header.dataset]
    groups = items_of(header.dataset, "PerFrameFunctionalGroupsSequence")
    shared = item_of(header.dataset, "SharedFunctionalGroupsSequence")
    for holder in (groups[frame] if frame < len(groups) else None, shared):
        transformation = item_of(holder, "PixelValueTransformationSequence")
        if transformation is not None:
            holders.insert(0, transformation)
    for holder in holders:
        if "RescaleSlope" in holder:
            return number_of(holder, "RescaleSlope"), number_of(holder, "RescaleIntercept") or 0.0
    return 1.0, 0.0


def decay_reference(
    series: Series, meaning: Meaning, given: AcquisitionOverrides, journal: Journal, label: str
) -> str:
    """Return ``START``, ``ADMIN`` or ``NONE``: what the voxel values are decay-corrected to."""
    section = f"Acquisition {label}"
    if given.decay_reference is not None:
        journal.row(section, "decay correction", given.decay_reference, "set by the user", "set")
        return given.decay_reference
    stated = str(series.get("DecayCorrection", "") or "").upper().strip()
    corrected = [str(value).upper() for value in as_list(series.get("CorrectedImage"))]
    if stated in ("START", "ADMIN", "NONE"):
        journal.row(section, "decay correction", stated, series.tag("DecayCorrection"))
        return stated
    if meaning.unit == "CNTS" and "DECY" not in corrected:
        return "NONE"
    if "DECY" in corrected:
        text, value = (
            "the object says DECY without a reference time; the start of the acquisition is assumed",
            "START",
        )
    elif stated:
        text, value = (
            f"DecayCorrection {stated!r} is not known; the start of the acquisition is assumed",
            "START",
        )
    else:
        text = "the object does not say whether it is decay-corrected; no correction is assumed"
        value = "NONE"
    journal.find(
        "assumption",
        f"acquisitions.{label}.decay_reference",
        f"{series.title}: {text}.",
        value=value,
        source="default",
        remedy=f"Set decay_reference of {label} (START, ADMIN or NONE).",
        section=section,
        item="decay correction",
    )
    return value


def as_list(value: object) -> list:
    """Return the values of an element with one value, several or none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def decay_correction(
    reference: str,
    unit: str,
    lambda_per_h: float | None,
    start: Moment | None,
    own_injection: Moment | None,
    time_h: float,
    duration_s: float | None,
) -> Correction | None:
    """Return the factor that leads from the file's decay reference to the start of the acquisition.

    ADMIN is undone with the injection time that stands in the same file, because that is
    what its writer used.  NONE in Bq/mL is the mean over the acquisition: the value at its
    start is larger by ``x / (1 - exp(-x))``, ``x = lambda * duration``.
    """
    if lambda_per_h is None:
        return None
    if reference == "ADMIN":
        hours = difference_h(start.value, own_injection.value) if start and own_injection else time_h
        factor = math.exp(-lambda_per_h * hours)
        detail = f"ADMIN: corrected to the injection {hours:.4f} h before; undone"
        return Correction("decay reference to acquisition start", factor, 0.0, detail)
    if reference == "NONE" and unit == "BQML" and duration_s:
        x = lambda_per_h * duration_s / 3600.0
        detail = f"NONE: mean over {duration_s:.0f} s; value at the start"
        return Correction("decay during the acquisition", x / -math.expm1(-x), 0.0, detail)
    return None


def check_decay_factor(series: Series, label: str, expected: float, journal: Journal) -> None:
    """Tell where the Decay Factor of a file is not the one that its Decay Correction means."""
    stated = number_of(series.first.dataset, "DecayFactor")
    if stated is None or abs(stated / expected - 1) < 0.01:
        return
    text = (
        f"{label}: DecayCorrection ADMIN means a factor of {expected:.4f}, but DecayFactor is {stated:g}; "
        "DecayCorrection is believed."
    )
    journal.find(
        "assumption",
        f"acquisitions.{label}.decay_reference",
        text,
        value="ADMIN",
        source=series.tag("DecayFactor"),
        remedy=f"Check with the vendor, or set decay_reference of {label}.",
        section=f"Acquisition {label}",
        item="decay factor",
    )


def slice_delays_h(series: Series, start: Moment) -> dict[str, float]:
    """Return by file name how long after ``start`` each slice was acquired (beds one after another), h."""
    delays = {}
    for header in series.headers:
        moment = start_of(header)
        if moment is not None and not moment.doubt:
            delays[header.name] = max(0.0, difference_h(moment.value, start.value))
    return delays
