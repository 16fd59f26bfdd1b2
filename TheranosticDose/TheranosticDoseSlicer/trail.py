"""What the audit trail of a report needs of a case: when each step was done, and what was changed by hand."""

from __future__ import annotations

from typing import Any

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import dose_nodes, study_nodes
from TheranosticDoseSlicer.case import Case

FINISHED, LOADED_WITH, CURVES = "finished", "loadedWith", "edits"


def note_load(case: Case, result: dict[str, Any], overrides: dict[str, Any] | None) -> None:
    """Begin the trail of a study that was just loaded."""
    case.set_record(FINISHED, result.get(FINISHED, {}))
    case.set_record(LOADED_WITH, overrides)


def note(case: Case, result: dict[str, Any]) -> None:
    """Keep when the steps of a task were done (UTC, ISO 8601)."""
    case.set_record(FINISHED, {**case.record(FINISHED, {}), **result.get(FINISHED, {})})


def request_of(case: Case, digests: dict[str, str]) -> dict[str, Any]:
    """Return ``request`` of ``results.json``: what the files were loaded with, and ``by_hand``.

    ``digests`` are the fingerprints of the segments by their id.

    ``by_hand`` has ``administration``, ``time_points``, ``curves`` and ``segments``, each only where something
    was changed; a replay from the files does not repeat these.
    """
    changed = {
        "administration": case.record(study_nodes.ADMINISTRATION_BY_HAND, {}),
        "time_points": time_points_by_hand(case),
        "curves": case.record(CURVES, {}),
        "segments": dose_nodes.segments_by_hand(case, digests),
    }
    return {
        "overrides": case.record(LOADED_WITH),
        "voi_files": [],
        "by_hand": {key: value for key, value in changed.items() if value},
    }


def time_points_by_hand(case: Case) -> dict[str, dict[str, Any]]:
    """Return what was changed in the table of the time points, by label."""
    record = case.record(study_nodes.STUDY_RECORD) or {"acquisitions": []}
    loaded = {entry["label"]: entry for entry in record["acquisitions"]}
    found: dict[str, dict[str, Any]] = {}
    for row in study_nodes.rows(case) if case.get(roles.TIME_POINTS) is not None else ():
        entry = loaded.get(row[study_nodes.LABEL])
        if entry is None:
            continue
        values = {
            "use": (study_nodes.is_true(row[study_nodes.USE]), True),
            "time_h": (float(row[study_nodes.TIME]), float(entry["time_h"])),
            "calibration": (float(row[study_nodes.SCALE]), 1.0),
            "duration_s": (float(row[study_nodes.DURATION]), float(entry.get("duration_s") or 0.0)),
        }
        edited = {key: now for key, (now, before) in values.items() if now != before}
        if edited:
            found[entry["label"]] = edited
    return found
