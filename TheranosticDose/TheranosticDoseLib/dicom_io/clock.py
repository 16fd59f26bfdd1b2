"""Dates and times of DICOM on one clock.

The start of an acquisition comes from the acquisition, never in silence from the
series or content time, which in nuclear medicine are often those of the reconstruction
or of an export days later.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.dicom_io.scan import Header, Series, items_of, number_of, tag_name, value_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DT = re.compile(r"^(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?$")
_TM = re.compile(r"^(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?$")
_DA = re.compile(r"^(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})$")


@dataclasses.dataclass(frozen=True)
class Moment:
    """A date and time with where it came from; ``doubt`` says why it may be wrong."""

    value: dt.datetime
    source: str
    doubt: str = ""


def zone_of(text: Any) -> dt.timezone | None:
    """Return the time zone of a text such as ``-0400``."""
    match = re.fullmatch(r"\s*([+-])(\d{2}):?(\d{2})\s*", str(text or ""))
    if not match:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    if minutes > 14 * 60:
        return None
    return dt.timezone(dt.timedelta(minutes=minutes if match[1] == "+" else -minutes))


def parse_date(text: Any) -> dt.date | None:
    """Return the date of a DA value."""
    match = _DA.match(str(text or "").strip())
    try:
        return dt.date(*(int(part) for part in match.groups())) if match else None
    except ValueError:
        return None


def parse_time(text: Any) -> dt.time | None:
    """Return the time of a TM value, at least hours and minutes."""
    match = _TM.match(str(text or "").strip())
    if not match or match[2] is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    micro = int((match[4] or "0").ljust(6, "0"))
    try:
        return dt.time(hour, minute, min(second, 59), micro)
    except ValueError:
        return None


def parse_datetime(text: Any, zone: dt.timezone | None = None) -> dt.datetime | None:
    """Return the moment of a DT value, at least to the minute; ``zone`` is used where it has none."""
    match = _DT.match(str(text or "").strip())
    if not match or match[5] is None:
        return None
    parts = [int(part) for part in match.groups()[:5]]
    second, micro = int(match[6] or 0), int((match[7] or "0").ljust(6, "0"))
    try:
        return dt.datetime(*parts, min(second, 59), micro, tzinfo=zone_of(match[8]) or zone)
    except ValueError:
        return None


def moment_of(header: Header, dataset: Dataset, keyword: str) -> Moment | None:
    """Return the moment of a DT element."""
    zone = zone_of(header.get("TimezoneOffsetFromUTC"))
    value = parse_datetime(value_of(dataset, keyword), zone)
    return Moment(value, f"{header.name} {tag_name(keyword)}") if value else None


def moment_of_pair(header: Header, dataset: Dataset, date: str, time: str) -> Moment | None:
    """Return the moment of a DA and a TM element."""
    day, hour = parse_date(value_of(dataset, date)), parse_time(value_of(dataset, time))
    if day is None or hour is None:
        return None
    value = dt.datetime.combine(day, hour, zone_of(header.get("TimezoneOffsetFromUTC")))
    return Moment(value, f"{header.name} {tag_name(date)} and {tag_name(time)}")


def start_of(header: Header) -> Moment | None:
    """Return when the acquisition of one file started.

    In order: Acquisition DateTime, Acquisition Date and Time; then, with the doubt
    stated, series and content time.
    """
    dataset = header.dataset
    exact = moment_of_pair(header, dataset, "AcquisitionDate", "AcquisitionTime")
    stamp = moment_of(header, dataset, "AcquisitionDateTime")
    if stamp is not None and exact is not None and _seconds(stamp.value, exact.value) > 60:
        doubt = f"AcquisitionDateTime and AcquisitionDate/Time differ ({exact.value:%Y-%m-%d %H:%M:%S})"
        return dataclasses.replace(stamp, doubt=doubt)
    if stamp is not None or exact is not None:
        return stamp or exact
    for name in ("Series", "Content"):
        late = moment_of_pair(header, dataset, f"{name}Date", f"{name}Time")
        if late is not None:
            doubt = f"the acquisition time is missing; the {name.lower()} time may be hours or days later"
            return dataclasses.replace(late, doubt=doubt)
    return None


def _seconds(first: dt.datetime, second: dt.datetime) -> float:
    """Return how far two moments lie apart; a missing zone is taken as that of the other."""
    return abs(difference_h(first, second)) * 3600


def difference_h(later: dt.datetime, earlier: dt.datetime) -> float:
    """Return ``later - earlier`` in hours; where one has no zone, both are on the same wall clock."""
    if (later.tzinfo is None) != (earlier.tzinfo is None):
        later, earlier = later.replace(tzinfo=None), earlier.replace(tzinfo=None)
    return (later - earlier).total_seconds() / 3600.0


def start_of_series(series: Series) -> Moment | None:
    """Return the earliest start among the files of a series (beds of one scan start one after another)."""
    moments = [moment for moment in (start_of(header) for header in series.headers) if moment]
    certain = [moment for moment in moments if not moment.doubt] or moments
    if not certain:
        return None
    aware = [moment for moment in certain if moment.value.tzinfo]
    pool = aware if aware and len(aware) < len(certain) else certain
    return min(pool, key=lambda moment: moment.value)


def duration_of(series: Series) -> tuple[float | None, str, str]:
    """Return the real time of an acquisition in seconds, its source, and a doubt.

    A tomographic NM object states the duration of one stop in its rotations; the rotation
    takes that times the number of angular views, which the standard counts per detector.
    A duration at the top of the object that is many stops long is that of the acquisition.
    """
    dataset = series.first.dataset
    rotations, source, doubt = _rotations_s(series)
    whole = number_of(dataset, "ActualFrameDuration")
    whole = whole / 1000.0 if whole and whole > 0 else None
    if rotations is not None:
        total, stop = rotations
        if whole is None or whole < 4 * stop:
            return total, source, doubt
        doubt = "" if abs(whole / total - 1) < 0.05 else f"the rotations would take {total:.0f} s"
        return whole, series.tag("ActualFrameDuration"), doubt
    if whole is not None:
        doubt = "may be the time of one projection" if series.kind == "NM" and whole < 120 else ""
        return whole, series.tag("ActualFrameDuration"), doubt
    seconds = number_of(dataset, "AcquisitionDuration")
    if seconds and seconds > 0:
        return seconds, series.tag("AcquisitionDuration"), ""
    return None, "", ""


def _rotations_s(series: Series) -> tuple[tuple[float, float] | None, str, str]:
    """Return the duration of all rotations and of one stop in seconds, the source and a doubt."""
    dataset = series.first.dataset
    total, stop, doubt = 0.0, 0.0, ""
    for rotation in items_of(dataset, "RotationInformationSequence"):
        frame_ms = number_of(rotation, "ActualFrameDuration")
        frames = number_of(rotation, "NumberOfFramesInRotation")
        if frame_ms and frames and frame_ms > 0 and frames > 0:
            views, doubt = _views_per_detector(dataset, rotation, frames)
            total, stop = total + frame_ms * views / 1000.0, frame_ms / 1000.0
    source = series.tag("RotationInformationSequence") + ": ActualFrameDuration x NumberOfFramesInRotation"
    return ((total, stop) if total > 0 else None), source, doubt


def _views_per_detector(dataset: Dataset, rotation: Dataset, frames: float) -> tuple[float, str]:
    """Return the stops of a rotation, and a doubt.

    Where several detectors share a circle, some vendors count their projections together;
    some write the number of reconstructed slices instead.  The object alone does not tell.
    """
    arc, step = number_of(rotation, "ScanArc"), number_of(rotation, "AngularStep")
    detectors = number_of(dataset, "NumberOfDetectors") or 1
    if not step:
        return frames, ""
    swept = frames * abs(step)
    if detectors > 1 and abs(swept - 360.0) < 0.5 * abs(step):
        doubt = f"if the {detectors:.0f} detectors shared these {frames:.0f} projections, it is shorter by that factor"
        return frames, doubt
    if arc and min(abs(swept * share - abs(arc)) for share in (1.0, detectors, 2.0, 3.0)) > 1.5 * abs(step):
        doubt = f"{frames:.0f} projections of {abs(step):g} degrees do not make the scan arc of {abs(arc):g} degrees"
        return frames, doubt
    return frames, ""
