"""A study in the scene: one SPECT and one CT volume per time point, a table to edit, the findings beside it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.errors import InputError
from TheranosticDoseLib.findings import Finding

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import codes, exchange, images, shown_tables, tables, weights
from TheranosticDoseSlicer.beside import last
from TheranosticDoseSlicer.case import Case

if TYPE_CHECKING:
    from TheranosticDoseLib.study import Acquisition, Study

LABEL, TIME, ACTIVITY, SCALE, UNIT, DURATION, USE = (
    "time point",
    "time (h)",
    "activity (MBq)",
    "calibration",
    "unit",
    "duration (s)",
    "use",
)
EDITABLE = (USE, TIME, ACTIVITY, SCALE, DURATION)
"""The columns that a user may change in the panel."""
FINDING = "finding"
STUDY_RECORD, STEP_FINDINGS, MEASURED, SHOWN = "study", "findings/", "measuredActivity", "shownScale"
ADMINISTRATION_BY_HAND = "administrationByHand"
KEPT = "timePointValues"
SECONDS_PER_HOUR = 3600.0
SEVERITY_ORDER = ("missing", "warning", "assumption", "info")
_UNIT_SHOWN = {"BQML": "Bq/mL", "CNTS": "counts"}
_UNIT_OF_QUANTITY = {"spect_bq_ml": "BQML", "spect_counts": "CNTS"}


def load(case: Case, study: Study) -> Iterator[str]:
    """Put a study into the scene, one node each step; earlier nodes of the same time point are reused."""
    for role in (roles.SPECT, roles.CT):
        for label in case.labels(role):
            if label not in [a.label for a in study.acquisitions]:
                case.remove(role + label)
    for acquisition in study.acquisitions:
        yield from _load_acquisition(case, acquisition)
    case.set_record(STUDY_RECORD, exchange.study_record(study))
    case.set_record(ADMINISTRATION_BY_HAND, {})
    case.remove_all(roles.SOURCE_VOI)
    for number, voi in enumerate(study.vois):
        node = yield from weights.keeping(voi)
        if node is not None:
            case.set(f"{roles.SOURCE_VOI}{number:03d}", node)
        yield voi.name
    columns = time_point_columns(study)
    totals = {column.name: column.values for column in columns}
    case.set_record(SHOWN, {})
    case.set_record(MEASURED, dict(zip(totals[LABEL], totals[ACTIVITY], strict=True)))
    case.set(roles.TIME_POINTS, tables.table_from(columns, "Time points", case.get(roles.TIME_POINTS)))
    case.set_record(KEPT, {})
    _keep(case)
    yield "time points"
    set_findings(case, "load", study.findings)


def _load_acquisition(case: Case, acquisition: Acquisition) -> Iterator[str]:
    label = acquisition.label
    quantity = "spect_bq_ml" if acquisition.unit == "BQML" else "spect_counts"
    role = roles.SPECT + label
    case.set(role, (yield from images.showing(acquisition.spect, f"SPECT {label}", quantity, case.get(role))))
    yield f"SPECT {label}"
    if acquisition.ct is not None:
        role = roles.CT + label
        case.set(role, (yield from images.showing(acquisition.ct, f"CT {label}", "ct_hu", case.get(role))))
        yield f"CT {label}"


def time_point_columns(study: Study) -> list[tables.Column]:
    """Return the table of the time points."""
    from TheranosticDoseLib.geometry import array_of, total_activity_mbq

    totals = []
    for acquisition in study.acquisitions:
        if acquisition.unit == "BQML":
            totals.append(total_activity_mbq(acquisition.spect))
        else:
            totals.append(float(array_of(acquisition.spect).sum()))
    return [
        tables.Column(LABEL, [a.label for a in study.acquisitions]),
        tables.Column(USE, [True] * len(study.acquisitions), description="leave a time point out here"),
        tables.Column(TIME, [float(a.time_h) for a in study.acquisitions], "h", "after the administration"),
        tables.Column(ACTIVITY, totals, "MBq", "in the field of view; counts where not yet calibrated"),
        tables.Column(SCALE, [1.0] * len(totals), "", "factor on the voxel values"),
        tables.Column(UNIT, [a.unit for a in study.acquisitions]),
        tables.Column(DURATION, [float(a.duration_s or 0.0) for a in study.acquisitions], "s"),
    ]


def shown_time_points(node) -> list[tables.Column]:
    """Return the table of the time points as the panel shows it: units in words, counts called counts."""
    units = [row[UNIT] for row in tables.rows_of(node)]
    found = []
    for column in shown_tables.columns_of(node):
        if column.name == ACTIVITY:
            values = [
                f"{value} counts" if unit == "CNTS" else value
                for value, unit in zip(column.values, units, strict=True)
            ]
            column = dataclasses.replace(column, values=values)
        elif column.name == UNIT:
            column = dataclasses.replace(column, values=[_UNIT_SHOWN.get(unit, unit) for unit in units])
        found.append(column)
    return found


def shown_findings(node) -> list[tables.Column]:
    """Return the findings as the panel shows them: what was found with its remedy, in lines that wrap."""
    rows = tables.rows_of(node)
    texts = [" ".join(part for part in (row[FINDING], row["remedy"]) if part) for row in rows]
    return [
        tables.Column("severity", [row["severity"] for row in rows]),
        tables.Column(FINDING, texts, description="and what would make it certain"),
    ]


def rows(case: Case) -> list[dict[str, Any]]:
    """Return the rows of the table of the time points, with all digits.

    The table is saved with a scene in six digits (``vtkMRMLTableStorageNode``); the case keeps the rest.
    """
    table = case.require(roles.TIME_POINTS, "The table of time points was deleted; load the study again.")
    kept, found = case.record(KEPT, {}), tables.rows_of(table)
    for row in found:
        for column, value in kept.get(row[LABEL], {}).items():
            if row[column] == float(f"{value:.6g}"):
                row[column] = value
    return found


def _keep(case: Case) -> None:
    numbers = (TIME, ACTIVITY, SCALE, DURATION)
    case.set_record(KEPT, {row[LABEL]: {column: row[column] for column in numbers} for row in rows(case)})


def study_of(case: Case) -> Study:
    """Return the study as the panel shows it; see :func:`study_steps`."""
    return last(study_steps(case, planned(case)))


def planned(case: Case) -> tuple[list[tuple[dict[str, Any], float]], list[Finding]]:
    """Return the records of the time points in use with their calibration, edited by the table, and findings.

    Raises
    ------
    InputError
        Where nothing is loaded, a volume was deleted, or the table holds something impossible.
    """
    record = case.record(STUDY_RECORD)
    if record is None:
        raise InputError("No study is loaded; choose a folder, volumes of the scene, or the virtual patient.")
    known = {row[LABEL]: row for row in rows(case)}
    entries, findings = [], []
    for entry in record["acquisitions"]:
        row = known.get(entry["label"])
        if row is None or not is_true(row[USE]):
            findings.append(_left_out(entry))
            continue
        _spect_node(case, entry, float(row[SCALE]))
        changed, said = _edited(entry, row)
        entries.append((changed, float(row[SCALE])))
        findings += said
    if not entries:
        raise InputError("All time points are left out; use at least one in the table of time points.")
    return entries, findings


def study_steps(
    case: Case, plan: tuple[list[tuple[dict[str, Any], float]], list[Finding]]
) -> Generator[str, None, Study]:
    """Read the volumes of a plan, one time point each step, and return the study at the end."""
    entries, findings = plan
    found: dict[str, Any] = {}
    for entry, scale in entries:
        spect = yield from images.reading(_spect_node(case, entry, scale))
        ct = case.get(roles.CT + entry["label"])
        found[entry["label"]] = (
            spect if scale == 1.0 else spect * scale,
            (yield from images.reading(ct)) if ct is not None else None,
        )
    record = dict(case.record(STUDY_RECORD), vois=[], acquisitions=[entry for entry, _ in entries])
    study = exchange.study_of(record, found)
    study = dataclasses.replace(
        study, acquisitions=tuple(sorted(study.acquisitions, key=lambda acquisition: acquisition.time_h))
    )
    vois = yield from drawn_vois(case, set(found))
    return dataclasses.replace(study, vois=vois).with_findings(*findings)


def drawn_vois(case: Case, labels: set[str]) -> Generator[str, None, tuple[Any, ...]]:
    """Read the VOIs of the files that were drawn on one of these time points, each on a box around it, in steps."""
    vois = []
    for number in case.labels(roles.SOURCE_VOI):
        vois.append((yield from weights.reading(case.get(roles.SOURCE_VOI + number), whole=False)))
    return tuple(voi for voi in vois if voi.acquisition in labels | {""})


def _spect_node(case: Case, entry: dict[str, Any], scale: float):
    label = entry["label"]
    node = case.require(
        roles.SPECT + label,
        f"The SPECT of the time point {label!r} was deleted; load the study again or leave the time point out.",
    )
    if scale <= 0:
        raise InputError(
            f"The calibration of the time point {label!r} is {scale:g}; a positive factor is needed."
        )
    return node


def _edited(entry: dict[str, Any], row: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    changed, findings = dict(entry), []
    time_h, label = float(row[TIME]), entry["label"]
    if time_h < 0:
        raise InputError(f"The time of {label!r} is {time_h:g} h; it cannot lie before the administration.")
    if abs(time_h - entry["time_h"]) > 1e-9:
        changed["time_h"] = time_h
        text = (
            f"{label}: the time was set by the user to {time_h:g} h; the files say {entry['time_h']:.6g} h."
        )
        findings.append(Finding("assumption", f"acquisition[{label}].time_h", text, time_h, "panel"))
    scale = float(row[SCALE])
    if scale != 1.0:
        correction = {"name": "calibration by the user", "factor": scale, "detail": "panel"}
        changed["corrections"] = [*entry.get("corrections", ()), correction]
        text = f"{label}: the voxel values were multiplied by {scale:.6g} by the user."
        findings.append(Finding("assumption", f"acquisition[{label}].calibration", text, scale, "panel"))
    duration = float(row[DURATION])
    if duration > 0 and duration != (entry.get("duration_s") or 0.0):
        changed["duration_s"] = duration
        text = f"{label}: the duration was set by the user to {duration:g} s."
        findings.append(Finding("assumption", f"acquisition[{label}].duration_s", text, duration, "panel"))
    return changed, findings


def _left_out(entry: dict[str, Any]) -> Finding:
    text = f"The time point {entry['label']!r} was left out by the user."
    return Finding("info", f"acquisition[{entry['label']}]", text, False, "panel")


def is_true(value: Any) -> bool:
    """A check box that came back from a saved scene as a number or text."""
    return str(value).strip().lower() not in ("0", "0.0", "false", "")


def set_administration(case: Case, **values: Any) -> None:
    """Change fields of the administration in the record of the case (``nuclide``, ``activity_mbq``, ...)."""
    record = case.record(STUDY_RECORD)
    if record is None:
        raise InputError("No study is loaded; load one before changing its administration.")
    changed = {key: value for key, value in values.items() if record["administration"].get(key) != value}
    if changed.get("datetime"):
        _move_times(case, record, changed["datetime"])
    record["administration"].update(changed)
    case.set_record(STUDY_RECORD, record)
    case.set_record(ADMINISTRATION_BY_HAND, {**case.record(ADMINISTRATION_BY_HAND, {}), **changed})


def _move_times(case: Case, record: dict[str, Any], injected: str) -> None:
    """Take the times of the scans from another time of the injection; a time that was set by hand stays."""
    start, new = dt.datetime.fromisoformat(injected), {}
    for entry in record["acquisitions"]:
        if not entry.get("datetime"):
            continue
        scan = dt.datetime.fromisoformat(entry["datetime"])
        if (scan.tzinfo is None) != (start.tzinfo is None):
            raise InputError("Injected at: write the time without a time zone, on the clock of the scanner.")
        new[entry["label"]] = (scan - start).total_seconds() / SECONDS_PER_HOUR
    late = [label for label, time_h in new.items() if time_h < 0]
    if late:
        raise InputError(f"Injected at: {injected.replace('T', ' ')} lies after the scan {', '.join(late)}.")
    table = case.get(roles.TIME_POINTS)
    known = {entry["label"]: float(entry["time_h"]) for entry in record["acquisitions"]}
    for number, row in enumerate(rows(case) if table is not None else ()):
        label = row[LABEL]
        if label in new and row[TIME] == known[label]:
            tables.set_cell(table, number, TIME, new[label])
    for entry in record["acquisitions"]:
        entry["time_h"] = new.get(entry["label"], entry["time_h"])
    if table is not None:
        _keep(case)


def reconcile(case: Case) -> bool:
    """Make activity and calibration of the table agree after an edit; return whether something was changed.

    A changed activity becomes a calibration (the factor that gives that total), a changed
    calibration changes the activity.
    """
    table = case.require(roles.TIME_POINTS, "The table of time points was deleted; load the study again.")
    measured, shown = case.record(MEASURED, {}), case.record(SHOWN, {})
    changed = False
    for number, row in enumerate(rows(case)):
        label, activity, scale = row[LABEL], float(row[ACTIVITY]), float(row[SCALE])
        total = measured.get(label)
        if not total or math.isclose(activity, total * scale, rel_tol=1e-9):
            continue
        if math.isclose(activity, total * shown.get(label, 1.0), rel_tol=1e-9):
            tables.set_cell(table, number, ACTIVITY, total * scale)
        elif activity > 0:
            scale = activity / total
            tables.set_cell(table, number, SCALE, scale)
        else:
            tables.set_cell(table, number, ACTIVITY, total * scale)
            raise InputError(f"The activity of {label!r} must be positive; {activity:g} MBq was not taken.")
        shown[label] = scale
        changed = True
    case.set_record(SHOWN, shown)
    _keep(case)
    return changed


def undo(case: Case) -> None:
    """Take the values of the files again, for all time points."""
    table = case.require(roles.TIME_POINTS, "The table of time points was deleted; load the study again.")
    measured = case.record(MEASURED, {})
    loaded = {entry["label"]: entry for entry in case.record(STUDY_RECORD)["acquisitions"]}
    case.set_record(SHOWN, {})
    was_modifying = table.StartModify()
    try:
        for number, row in enumerate(tables.rows_of(table)):
            entry = loaded.get(row[LABEL])
            if entry is None:
                continue
            for column, value in (
                (USE, True),
                (TIME, float(entry["time_h"])),
                (ACTIVITY, measured.get(row[LABEL], row[ACTIVITY])),
                (SCALE, 1.0),
                (DURATION, float(entry.get("duration_s") or 0.0)),
            ):
                tables.set_cell(table, number, column, value)
    finally:
        table.EndModify(was_modifying)
    _keep(case)


def set_findings(case: Case, step: str, findings) -> None:
    """Keep the findings of a step and show those of all steps, the most serious first."""
    case.set_record(STEP_FINDINGS + step, [finding.to_dict() for finding in findings])
    values = all_findings(case)
    values.sort(key=lambda value: SEVERITY_ORDER.index(value["severity"]))
    columns = [
        tables.Column("severity", [value["severity"] for value in values]),
        tables.Column(FINDING, [value["message"] for value in values]),
        tables.Column("remedy", [value["remedy"] for value in values]),
        tables.Column("source", [value["source"] for value in values]),
        tables.Column("field", [value["field"] for value in values]),
    ]
    case.set(roles.FINDINGS, tables.table_from(columns, "Findings", case.get(roles.FINDINGS)))


def all_findings(
    case: Case, steps: tuple[str, ...] = ("load", "register", "vois", "dose")
) -> list[dict[str, Any]]:
    """Return the findings of the steps, each once."""
    values = [value for step in steps for value in case.record(STEP_FINDINGS + step, [])]
    return list({(v["severity"], v["field"], v["message"]): v for v in values}.values())


def study_from_nodes(
    case: Case, pairs: list[tuple[Any, Any, float]], activity_mbq: float | None
) -> Iterator[str]:
    """Make a case of volumes that are in the scene: ``(SPECT node, CT node or None, hours)`` each.

    Raises
    ------
    InputError
        Where a SPECT does not say its unit, or times are not distinct.
    """
    from TheranosticDoseLib.study import Acquisition, Administration, Study

    if not pairs:
        raise InputError("No SPECT volume was given; choose at least one.")
    if len({time for _, _, time in pairs}) != len(pairs):
        raise InputError("Two SPECT volumes have the same time; give each its own, in hours.")
    acquisitions, findings = [], []
    for spect, ct, time_h in sorted(pairs, key=lambda pair: pair[2]):
        label = f"{time_h:g}h"
        quantity = codes.quantity_of(spect)
        unit = _UNIT_OF_QUANTITY.get(quantity.name) if quantity else None
        if unit is None:
            unit = "BQML"
            text = f"{label}: the volume {spect.GetName()!r} does not say its unit; Bq/mL at scan time was assumed."
            remedy = "Set its units in the Volumes module, or load the DICOM files with this module."
            findings.append(
                Finding("assumption", f"acquisition[{label}].unit", text, unit, "default", remedy)
            )
        image = yield from images.reading(spect)
        ct_image = (yield from images.reading(ct)) if ct is not None else None
        acquisitions.append(Acquisition(label, float(time_h), image, unit, ct_image))
    if activity_mbq is None:
        findings.append(Finding("missing", "administration.activity_mbq", "The administered activity is not known.",
                                remedy="Enter it in the study step."))  # fmt: skip
    study = Study(Administration(activity_mbq=activity_mbq), tuple(acquisitions), (), tuple(findings))
    yield from load(case, study)
