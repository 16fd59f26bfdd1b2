"""The acquisitions of a study: their order, times and labels, before any voxel is read."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from TheranosticDoseLib.dicom_io import units
from TheranosticDoseLib.dicom_io.administration import Dose
from TheranosticDoseLib.dicom_io.clock import Moment, difference_h
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.overrides import AcquisitionOverrides, Overrides
from TheranosticDoseLib.dicom_io.scan import Series
from TheranosticDoseLib.errors import InputError, SettingsError, TheranosticDoseError

UNKNOWN_TIME = "unknown time"


@dataclasses.dataclass(frozen=True)
class Scan:
    """One SPECT series with its time and label, before its voxels are read."""

    series: Series
    dose: Dose
    start: Moment | None
    time_h: float
    label: str
    given: AcquisitionOverrides


def scans_of(
    doses: list[Dose], injection: Moment | None, overrides: Overrides, journal: Journal
) -> list[Scan]:
    """Return the acquisitions in order of time with unique labels."""
    scans = []
    for dose in doses:
        series = dose.series
        given = overrides.for_acquisition(series.uid)
        start = series.start
        if given.datetime is not None:
            start = Moment(dt.datetime.fromisoformat(given.datetime), overrides.source)
        try:
            time_h = _time_h(series, start, injection, given)
        except TheranosticDoseError as error:
            journal.fail(
                error, f"Acquisition {UNKNOWN_TIME}", series.title, "set time_h or injection_datetime"
            )
            time_h = float("nan")
        scans.append(Scan(series, dose, start, time_h, given.label or "", given))
    scans.sort(key=lambda scan: scan.time_h)
    labels: set[str] = set()
    labelled = []
    for scan in scans:
        label = scan.label or _label(scan.time_h, labels)
        labels.add(label)
        by_label = overrides.for_acquisition(scan.series.uid, label)
        if by_label.use:
            labelled.append(dataclasses.replace(scan, label=label, given=by_label))
    labelled = [
        _retimed(scan, injection, overrides) if scan.time_h == scan.time_h else scan for scan in labelled
    ]
    for scan in labelled:
        _tell_time(scan, injection, overrides, journal)
    return sorted(labelled, key=lambda scan: scan.time_h)


def reject_unknown_keys(
    overrides: Overrides, scans: list[Scan], found: list[Series], journal: Journal
) -> None:
    """Raise for values that are given for an acquisition that does not exist."""
    labels = [scan.label for scan in scans] + [_label(scan.time_h, set()) for scan in scans]
    known = {series.uid for series in found} | set(labels)
    left_out = [key for key, values in overrides.acquisitions.items() if _left_out(values)]
    for key in overrides.acquisitions:
        if key not in known and key not in left_out:
            names = ", ".join(f"{scan.label} ({scan.series.uid})" for scan in scans)
            error = SettingsError(
                f"acquisitions[{key!r}] ({overrides.source}): no such acquisition; there are {names}."
            )
            journal.fail(error, "Summary", "acquisitions")


def _left_out(values: Any) -> bool:
    """Whether values say that an acquisition is not to be used."""
    return (values if isinstance(values, dict) else values.to_dict()).get("use") is False


def _retimed(scan: Scan, injection: Moment | None, overrides: Overrides) -> Scan:
    """Apply a time that was given under the label of an acquisition."""
    start = scan.start
    if scan.given.datetime is not None:
        start = Moment(dt.datetime.fromisoformat(scan.given.datetime), overrides.source)
    return dataclasses.replace(scan, start=start, time_h=_time_h(scan.series, start, injection, scan.given))


def _time_h(
    series: Series, start: Moment | None, injection: Moment | None, given: AcquisitionOverrides
) -> float:
    """Return hours after the administration; what is missing or negative is an error."""
    if given.time_h is not None:
        return float(given.time_h)
    if start is None:
        raise InputError(
            f"{series.tag('AcquisitionDate')}: {series.title} has no date and time; set its time_h."
        )
    if injection is None:
        raise InputError(
            f"{series.tag('RadiopharmaceuticalStartDateTime')}: no file states when the activity was given; "
            "set injection_datetime."
        )
    hours = difference_h(start.value, injection.value)
    if hours < 0:
        raise InputError(
            f"{series.title} started at {start.value:%Y-%m-%d %H:%M:%S} ({start.source}), "
            f"{-hours:.2f} h before the injection at {injection.value:%Y-%m-%d %H:%M:%S} ({injection.source}); "
            "set injection_datetime, or leave the series out with use = false."
        )
    return hours


def _label(time_h: float, taken: set[str]) -> str:
    """Return a short unique name such as ``24h``."""
    if time_h != time_h:
        return UNKNOWN_TIME
    for label in (f"{time_h:.0f}h", f"{time_h:.1f}h", f"{time_h:.2f}h"):
        if label not in taken:
            return label
    number = 2
    while f"{time_h:.0f}h_{number}" in taken:
        number += 1
    return f"{time_h:.0f}h_{number}"


def _tell_time(scan: Scan, injection: Moment | None, overrides: Overrides, journal: Journal) -> None:
    """Write the time of an acquisition, and what is doubtful about it, down."""
    section, field = f"Acquisition {scan.label}", f"acquisitions.{scan.label}.time_h"
    journal.row(section, "series", scan.series.title, scan.series.first.name)
    factor = scan.given.camera_factor_cps_per_mbq
    if factor is not None:
        text = f"{scan.label}: camera_factor_cps_per_mbq = {factor:g} was given ({overrides.source})."
        journal.find(
            "info",
            f"acquisitions.{scan.label}.camera_factor_cps_per_mbq",
            text,
            value=factor,
            source=overrides.source,
            section=section,
            item="camera factor, counts/s/MBq",
            status="set",
        )
    _tell_corrections(scan, journal)
    if scan.given.time_h is not None:
        text = f"{scan.label}: time_h = {scan.time_h:g} was given ({overrides.source})."
        journal.find(
            "info",
            field,
            text,
            value=scan.time_h,
            source=overrides.source,
            section=section,
            item="hours after the injection",
            status="set",
        )
        return
    start = scan.start
    journal.row(
        section, "start", start.value.isoformat(sep=" "), start.source, "doubtful" if start.doubt else "ok"
    )
    if scan.time_h == scan.time_h:
        journal.row(section, "hours after the injection", round(scan.time_h, 4), start.source)
    if start.doubt:
        text = f"{scan.label}: start at {start.value:%Y-%m-%d %H:%M:%S}; {start.doubt}."
        journal.find(
            "warning",
            field,
            text,
            value=scan.time_h,
            source=start.source,
            remedy=f"Set time_h or datetime of {scan.label}.",
            section=section,
            item="start",
        )
    if injection is not None and (start.value.tzinfo is None) != (injection.value.tzinfo is None):
        text = (
            f"{scan.label}: only one of scan and injection states a time zone; both are taken as local time."
        )
        journal.find(
            "assumption",
            field,
            text,
            value=scan.time_h,
            source=start.source,
            remedy=f"Set time_h of {scan.label}.",
            section=section,
            item="time zone",
        )


def _tell_corrections(scan: Scan, journal: Journal) -> None:
    """Write down what the file says was corrected: dead time, attenuation, scatter, decay."""
    corrected = units.as_list(scan.series.get("CorrectedImage"))
    factors = [scan.series.get(name) for name in ("DeadTimeFactor", "DeadTimeCorrectionFlag")]
    text = ", ".join(map(str, corrected)) or "none stated"
    if factors[0] is not None:
        text += f"; dead time factor {factors[0]}"
    journal.row(
        f"Acquisition {scan.label}", "corrections of the file", text, scan.series.tag("CorrectedImage")
    )
