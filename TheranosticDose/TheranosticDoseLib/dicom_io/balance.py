"""The activity balance: activity in the field of view against what was given and has decayed."""

from __future__ import annotations

import math

from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.nuclide_names import half_life_s
from TheranosticDoseLib.errors import UnitsError
from TheranosticDoseLib.geometry import array_of, total_activity_mbq
from TheranosticDoseLib.study import Acquisition, Administration

SECTION = "Activity balance"
_TOO_MUCH, _IMPOSSIBLE, _TOO_LITTLE = 1.10, 2.0, 0.005


def expected_mbq(given: Administration, time_h: float) -> float | None:
    """Return the administered activity after physical decay alone, MBq."""
    half_life = half_life_s(given.nuclide)
    if given.activity_mbq is None or half_life is None or time_h != time_h:
        return None
    return given.activity_mbq * math.exp(-math.log(2.0) * time_h * 3600.0 / half_life)


def check_balance(acquisitions: list[Acquisition], given: Administration, journal: Journal) -> None:
    """Compare each acquisition with the administered activity.

    More than was given is a warning, more than twice an error; less than 0.5 % in Bq/mL
    looks like counts.
    """
    for acquisition in acquisitions:
        expected = expected_mbq(given, acquisition.time_h)
        if acquisition.unit == "BQML":
            _check_activity(acquisition, total_activity_mbq(acquisition.spect), expected, journal)
        else:
            _check_counts(acquisition, expected, journal)


def _check_activity(acquisition: Acquisition, total: float, expected: float | None, journal: Journal) -> None:
    label, field = acquisition.label, f"acquisitions.{acquisition.label}.unit"
    if expected is None:
        journal.row(
            SECTION,
            label,
            f"{total:.2f} MBq in the field of view; nothing to compare with",
            "",
            "missing",
            "Set injected_activity_mbq.",
        )
        return
    part = total / expected
    text = f"{total:.2f} MBq in the field of view, {100 * part:.1f} % of the {expected:.2f} MBq left of the injected"
    remedy = f"Check unit and decay_reference of {label}, and injected_activity_mbq."
    if part > _IMPOSSIBLE:
        error = UnitsError(
            f"{label}: {text}; that is impossible. {remedy} Counts declared as Bq/mL, a wrong rescale slope, "
            "or an activity in GBq or mCi look like this."
        )
        journal.row(SECTION, label, text, "", "error", remedy)
        journal.fail(error, SECTION, label, remedy)
    elif part > _TOO_MUCH:
        journal.find(
            "warning",
            field,
            f"{label}: {text}; more than was given.",
            value=part,
            remedy=remedy,
            section=SECTION,
            item=label,
        )
    elif part < _TOO_LITTLE:
        message = f"{label}: {text}; so little looks like counts or another unit."
        journal.find("warning", field, message, value=part, remedy=remedy, section=SECTION, item=label)
    else:
        journal.row(SECTION, label, text, "sum of voxels x voxel volume; administered activity x decay")


def _check_counts(acquisition: Acquisition, expected: float | None, journal: Journal) -> None:
    label = acquisition.label
    counts = float(array_of(acquisition.spect).sum(dtype="float64"))
    as_activity = total_activity_mbq(acquisition.spect)
    text = f"{counts:.4g} counts; a camera factor turns them into activity"
    if expected is not None and acquisition.duration_s:
        rate = counts / acquisition.duration_s / expected
        text += f"; {rate:.3g} counts/s per MBq that is left in the whole patient"
    journal.row(SECTION, label, text, "sum of voxels")
    if expected is not None and 0.02 < as_activity / expected < _TOO_MUCH:
        message = (
            f"{label}: the values are taken as counts, but as Bq/mL they would be {as_activity:.1f} MBq, "
            f"{100 * as_activity / expected:.0f} % of the {expected:.1f} MBq that are left; they may be Bq/mL."
        )
        journal.find(
            "warning",
            f"acquisitions.{label}.unit",
            message,
            remedy=f"Set unit of {label}.",
            section=SECTION,
            item=label,
        )
