"""What was given to the patient: nuclide, activity and time, from all series together."""

from __future__ import annotations

import dataclasses
import datetime as dt

from TheranosticDoseLib.dicom_io.clock import (
    Moment,
    difference_h,
    moment_of,
    parse_time,
    zone_of,
)
from TheranosticDoseLib.dicom_io.dose_report import DoseReport
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.nuclide_names import (
    half_life_s,
    known_nuclides,
    nuclide_of_code,
    nuclide_of_half_life,
    nuclide_of_text,
)
from TheranosticDoseLib.dicom_io.overrides import Overrides
from TheranosticDoseLib.dicom_io.scan import Series, item_of, number_of, tag_name, value_of
from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.study import Administration

SECTION = "Administration"
_SEQUENCE = "RadiopharmaceuticalInformationSequence"
_DIAGNOSTIC_MBQ, _HUGE_MBQ = 100.0, 50_000.0
_THERAPY = {"Lu-177", "I-131", "Y-90", "Tb-161", "Ho-166", "Sm-153", "Re-186", "Re-188"}


@dataclasses.dataclass(frozen=True)
class Dose:
    """What one series says about the administration; ``None`` where it is silent."""

    series: Series
    nuclide: str | None
    nuclide_source: str
    activity_mbq: float | None
    activity_note: str
    moment: Moment | None
    half_life_s: float | None
    pharmaceutical: str


def dose_of(series: Series) -> Dose:
    """Return what the radiopharmaceutical sequence of a series says."""
    item = item_of(series.first.dataset, _SEQUENCE)
    half_life = number_of(item, "RadionuclideHalfLife")
    nuclide, source = _nuclide(series, item, half_life)
    activity, note = _activity(series, item)
    text = str(value_of(item, "Radiopharmaceutical", "") or "").strip()
    code = item_of(item, "RadiopharmaceuticalCodeSequence")
    text = text or str(value_of(code, "CodeMeaning", "") or "").strip()
    half_life = half_life if half_life and half_life > 0 else None
    return Dose(series, nuclide, source, activity, note, _moment(series, item), half_life, text)


def _nuclide(series: Series, item: object, half_life: float | None) -> tuple[str | None, str]:
    """Return the nuclide and the tag that names it: code, its meaning, the drug, or the half-life."""
    code = item_of(item, "RadionuclideCodeSequence")
    found = nuclide_of_code(str(value_of(code, "CodeValue", "")))
    found = found or nuclide_of_text(str(value_of(code, "CodeMeaning", "")))
    if found:
        return found, f"{series.first.name} {tag_name('RadionuclideCodeSequence')}"
    drug = item_of(item, "RadiopharmaceuticalCodeSequence")
    for source, text in (
        ("Radiopharmaceutical", value_of(item, "Radiopharmaceutical", "")),
        ("RadiopharmaceuticalCodeSequence", value_of(drug, "CodeMeaning", "")),
    ):
        if found := nuclide_of_text(str(text)):
            return found, f"{series.first.name} {tag_name(source)}"
    if half_life and (found := nuclide_of_half_life(half_life)):
        return found, f"{series.first.name} {tag_name('RadionuclideHalfLife')}"
    return None, ""


def _activity(series: Series, item: object) -> tuple[float | None, str]:
    """Return the activity in MBq and a note where its unit is not the one of the standard.

    The standard wants Bq in PET objects and MBq in NM objects; vendors mix them.
    No administration lies below 1 MBq or above 1e6 MBq, so the size decides.
    """
    value = number_of(item, "RadionuclideTotalDose")
    if value is None or value <= 0:
        return None, ""
    in_bq = value >= 1e6
    if in_bq == (series.kind == "PT"):
        return (value * 1e-6 if in_bq else value), ""
    standard, found = ("Bq", "MBq") if series.kind == "PT" else ("MBq", "Bq")
    note = f"the standard wants {standard} in {series.kind} objects, the value {value:g} can only be {found}"
    return (value * 1e-6 if in_bq else value), note


def _moment(series: Series, item: object) -> Moment | None:
    """Return the start of the administration; a time without a date gets that of the scan, stated as a doubt."""
    header = series.first
    exact = moment_of(header, item, "RadiopharmaceuticalStartDateTime") if item is not None else None
    time = parse_time(value_of(item, "RadiopharmaceuticalStartTime"))
    source = f"{header.name} {tag_name('RadiopharmaceuticalStartTime')}"
    if exact is not None:
        if time is not None and abs(_seconds(exact.value.time()) - _seconds(time)) > 60:
            doubt = f"RadiopharmaceuticalStartTime says {time:%H:%M:%S}"
            return dataclasses.replace(exact, doubt=doubt)
        return exact
    start = series.start
    if time is None or start is None:
        return None
    moment = dt.datetime.combine(start.value.date(), time, zone_of(header.get("TimezoneOffsetFromUTC")))
    if difference_h(start.value, moment) < 0:
        moment -= dt.timedelta(days=1)
    return Moment(moment, source, "a time without a date; the day of the scan, or the day before, is assumed")


def _seconds(time: dt.time) -> float:
    return time.hour * 3600 + time.minute * 60 + time.second


def choose_nuclide(doses: list[Dose], overrides: Overrides, journal: Journal) -> str | None:
    """Return the nuclide of the study; several are an error that names them."""
    if overrides.nuclide is not None:
        name = nuclide_of_text(overrides.nuclide)
        if name is None:
            error = InputError(
                f"nuclide {overrides.nuclide!r} is not known; known: {', '.join(known_nuclides())}."
            )
            journal.fail(error, SECTION, "nuclide")
            return None
        _note_override(journal, overrides, "nuclide", name)
        return name
    named = {dose.nuclide: dose for dose in doses if dose.nuclide}
    if len(named) > 1:
        text = " and ".join(
            f"{name} ({dose.series.title}, {dose.nuclide_source})" for name, dose in named.items()
        )
        error = InputError(f"Several nuclides: {text}; set nuclide, or leave series out with use = false.")
        journal.fail(error, SECTION, "nuclide", "set nuclide")
    if named:
        name, dose = next(iter(named.items()))
        journal.row(SECTION, "nuclide", name, dose.nuclide_source)
        return name
    journal.find(
        "assumption",
        "administration.nuclide",
        "No file names the nuclide; Lu-177 is assumed.",
        value="Lu-177",
        source="default",
        remedy="Set nuclide.",
        section=SECTION,
        item="nuclide",
    )
    return "Lu-177"


def _note_override(journal: Journal, overrides: Overrides, name: str, value: object, unit: str = "") -> None:
    """Record that a value was given by the user."""
    text = f"{name} = {value}{' ' + unit if unit else ''} was given ({overrides.source})."
    field = f"administration.{name}"
    journal.find(
        "info", field, text, value=value, source=overrides.source, section=SECTION, item=name, status="set"
    )


def administration_of(
    doses: list[Dose],
    nuclide: str | None,
    overrides: Overrides,
    journal: Journal,
    reports: list[DoseReport] | None = None,
) -> tuple[Administration, Moment | None]:
    """Return what was given, and its moment with its own time zone.

    A dose report states what reached the patient and goes before the tags of the images;
    a value of the user goes before both.
    """
    doses = [dose for dose in doses if nuclide is None or dose.nuclide in (None, nuclide)]
    report = next((one for one in reports or [] if one.net_mbq is not None), None)
    moment = _choose_moment(doses, overrides, journal, report)
    activity = _choose_activity(doses, nuclide, overrides, journal, report)
    residual = 0.0
    if overrides.residual_mbq is not None:
        residual = overrides.residual_mbq
        _note_override(journal, overrides, "residual_mbq", residual, "MBq")
        if report is not None and overrides.injected_activity_mbq is None:
            activity = activity if report.before_mbq is None else report.before_mbq
    elif report is not None and overrides.injected_activity_mbq is None:
        journal.row(SECTION, "residual, MBq", report.after_mbq, report.source)
    elif activity is not None:
        journal.find(
            "assumption",
            "administration.residual_mbq",
            "No residual is stated; the activity is taken as what reached the patient.",
            value=0.0,
            source="default",
            remedy="Set residual_mbq where the residual in syringe and line was not yet subtracted.",
            section=SECTION,
            item="residual",
        )
    if activity is not None and residual >= activity:
        error = InputError(f"The residual of {residual:g} MBq is not below the activity of {activity:g} MBq.")
        journal.fail(error, SECTION, "residual")
        residual = 0.0
    if overrides.radiopharmaceutical:
        _note_override(journal, overrides, "radiopharmaceutical", overrides.radiopharmaceutical)
    drug = overrides.radiopharmaceutical or next((d.pharmaceutical for d in doses if d.pharmaceutical), "")
    net = None if activity is None else activity - residual
    if overrides.residual_mbq is None and report is not None and overrides.injected_activity_mbq is None:
        residual = report.after_mbq or 0.0
    return Administration(nuclide or "Lu-177", net, moment.value if moment else None, drug, residual), moment


def _choose_activity(
    doses: list[Dose], nuclide: str | None, overrides: Overrides, journal: Journal, report: DoseReport | None
) -> float | None:
    """Return the activity in MBq; series that disagree and odd units are findings."""
    field, item = "administration.activity_mbq", "activity, MBq"
    if overrides.injected_activity_mbq is not None:
        _note_override(journal, overrides, "injected_activity_mbq", overrides.injected_activity_mbq, "MBq")
        return overrides.injected_activity_mbq
    stated = [dose for dose in doses if dose.activity_mbq is not None]
    remedy = "Set injected_activity_mbq."
    if report is not None:
        net = float(report.net_mbq or 0.0)
        journal.row(SECTION, item, round(net, 4), report.source + " (dose report, what reached the patient)")
        for dose in stated[:1]:
            if all(abs(dose.activity_mbq / known - 1) > 0.01 for known in (net, report.before_mbq) if known):
                text = f"The dose report states {net:g} MBq, {dose.series.title} {dose.activity_mbq:g} MBq."
                journal.find("warning", field, text, value=net, source=report.source, remedy=remedy)
        return net
    if not stated:
        text = "No file states the injected activity ((0018,1074) RadionuclideTotalDose)."
        journal.find("missing", field, text, remedy=remedy, section=SECTION, item=item)
        return None
    dose = stated[0]
    value, source = float(dose.activity_mbq or 0.0), dose.series.tag("RadionuclideTotalDose")
    journal.row(SECTION, item, round(value, 4), source)
    if dose.activity_note:
        text = f"Injected activity {value:g} MBq: {dose.activity_note}."
        journal.find(
            "assumption", field, text, value=value, source=source, remedy=remedy, section=SECTION, item=item
        )
    odd = [other for other in stated if abs(other.activity_mbq / value - 1) > 0.01]
    if odd:
        text = (
            f"The series state different injected activities: {value:g} MBq ({dose.series.title}) and "
            f"{odd[0].activity_mbq:g} MBq ({odd[0].series.title}); the first is used."
        )
        journal.find(
            "warning", field, text, value=value, source=source, remedy=remedy, section=SECTION, item=item
        )
    if (nuclide in _THERAPY and value < _DIAGNOSTIC_MBQ) or value > _HUGE_MBQ:
        text = f"An injected activity of {value:g} MBq {nuclide or ''} is unusual; GBq, mCi and MBq may be mixed up."
        journal.find(
            "warning", field, text, value=value, source=source, remedy=remedy, section=SECTION, item=item
        )
    return value


def _choose_moment(
    doses: list[Dose], overrides: Overrides, journal: Journal, report: DoseReport | None
) -> Moment | None:
    """Return the start of the administration; two different ones are an error unless one is set."""
    field, item = "administration.datetime", "start of the injection"
    if overrides.injection_datetime is not None:
        value = dt.datetime.fromisoformat(overrides.injection_datetime)
        _note_override(journal, overrides, "injection_datetime", value.isoformat())
        return Moment(value, overrides.source)
    moments = [dose.moment for dose in doses if dose.moment is not None]
    if report is not None and report.start is not None:
        moments = [Moment(report.start, report.source), *(one for one in moments if not one.doubt)]
    if not moments:
        text = "No file states when the activity was given ((0018,1078) RadiopharmaceuticalStartDateTime)."
        journal.find("missing", field, text, remedy="Set injection_datetime.", section=SECTION, item=item)
        return None
    pool = [moment for moment in moments if not moment.doubt] or moments
    moment = min(pool, key=lambda one: difference_h(one.value, pool[0].value))
    journal.row(SECTION, item, moment.value.isoformat(sep=" "), moment.source)
    if moment.doubt:
        text = f"Injection at {moment.value:%Y-%m-%d %H:%M:%S}: {moment.doubt}."
        journal.find(
            "warning" if "says" in moment.doubt else "assumption",
            field,
            text,
            value=moment.value.isoformat(),
            source=moment.source,
            remedy="Set injection_datetime.",
            section=SECTION,
            item=item,
        )
    _compare_moments(moment, pool, journal)
    return moment


def _compare_moments(moment: Moment, pool: list[Moment], journal: Journal) -> None:
    """Tell where the series disagree; another day of the same cycle is a warning, another cycle an error."""
    for other in pool:
        gap_h = difference_h(other.value, moment.value)
        whole_days = abs(gap_h / 24 - round(gap_h / 24)) * 24 < 2 / 60 and gap_h <= 14 * 24
        if gap_h < 1 / 60:
            continue
        both = " and ".join(f"{one.value:%Y-%m-%d %H:%M:%S} ({one.source})" for one in (moment, other))
        if whole_days or gap_h < 1:
            why = (
                "some cameras write the date of the scan"
                if whole_days
                else "they differ by less than an hour"
            )
            journal.find(
                "warning",
                "administration.datetime",
                f"The series state different injection times, {both}; the earliest is used ({why}).",
                value=moment.value.isoformat(),
                source=moment.source,
                remedy="Set injection_datetime.",
                section=SECTION,
                item="start of the injection",
            )
        else:
            error = InputError(
                f"Two administrations are mixed: {both}; load one cycle at a time, or set injection_datetime."
            )
            journal.fail(
                error, SECTION, "start of the injection", "separate the cycles or set injection_datetime"
            )
        return


def decay_constant_per_h(dose: Dose, nuclide: str | None) -> float | None:
    """Return the decay constant that a file was corrected with: its own half-life, else that of the nuclide."""
    import math

    seconds = dose.half_life_s or (half_life_s(nuclide) if nuclide else None)
    return math.log(2.0) / (seconds / 3600.0) if seconds else None
