"""Tables and plots of a case: results per VOI, dose-volume histograms, the curve of one VOI, the engines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseSlicer import case as roles
from TheranosticDoseSlicer import edits, engine_table, segments, shown_tables, tables
from TheranosticDoseSlicer.case import Case
from TheranosticDoseSlicer.choices import FitMethod, FitModel
from TheranosticDoseSlicer.tables import Column

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow import VoiResult

DVH_POINTS = 200
LONGEST_LEGEND = 16
TIME, ACTIVITY, U, USE, MEASURED = "time (h)", "activity (MBq)", "u (MBq)", "use", "measured (MBq)"
EDITABLE = (ACTIVITY, USE)
"""What a user may change of the points of a curve."""
_OF_THE_BUDGET = "k=1, of the whole budget"


def write_results(case: Case, results: tuple[VoiResult, ...], doses: dict[str, Any]) -> None:
    """Write the table of the VOIs, what is asked for most first, and the DVH table and chart."""
    columns = [Column("VOI", [r.name for r in results])]
    for engine in doses:
        columns += [
            Column(f"{engine} mean (Gy)", [_dvh(r, engine, "mean_gy") for r in results], "Gy"),
            Column(f"{engine} u mean (Gy)", [_u_mean(r, engine) for r in results], "Gy", _OF_THE_BUDGET),
        ]
    if doses:
        columns += _radiobiology(results, next(iter(doses)))
    for engine in doses:
        columns += [
            Column(f"{engine} D98 (Gy)", [_percentile(r, engine, 98) for r in results], "Gy"),
            Column(f"{engine} D2 (Gy)", [_percentile(r, engine, 2) for r in results], "Gy"),
        ]
    columns += [
        Column("TIA (MBq h)", [_of(r.fit, "tia_mbq_h") for r in results], "MBq h"),
        Column(
            "u TIA (MBq h)",
            [_u_tia(r) for r in results],
            "MBq h",
            _OF_THE_BUDGET if doses else "of the fit, k=1",
        ),
        Column("T eff (h)", [_of(r.fit, "effective_half_life_h") for r in results], "h", "slowest phase"),
        Column("model", [r.fit.model if r.fit else "-" for r in results]),
        Column("volume (mL)", [r.volume_ml for r in results], "mL"),
        Column("mass (g)", [r.mass_g for r in results], "g"),
    ]
    case.set(roles.VOIS, tables.table_from(columns, "Results", case.get(roles.VOIS)))
    if doses:
        write_dvh(case, results, list(doses))


def _radiobiology(results: tuple[VoiResult, ...], engine: str) -> list[Column]:
    about = f"of the mean dose of {engine}"

    def values(name: str) -> list[float]:
        return [_number(r.radiobiology.get(name)) for r in results]

    return [
        Column("BED (Gy)", [_number(r.bed_gy) for r in results], "Gy", about),
        Column("u BED (Gy)", values("u_bed_gy"), "Gy", "k=1, of the dose; the parameters count as known"),
        Column("EQD2 (Gy)", [_number(r.eqd2_gy) for r in results], "Gy", about),
        Column(
            "of limit (%)",
            [_of_limit(r) for r in results],
            "%",
            "the nearest published limit, see the report",
        ),
        Column(
            "alpha/beta (Gy)", values("alpha_beta_gy"), "Gy", "of BED and EQD2; its source is in the report"
        ),
        Column(
            "T repair (h)", values("repair_half_time_h"), "h", "of BED and EQD2; its source is in the report"
        ),
    ]


def _of_limit(result: VoiResult) -> float:
    shares = [limit.get("fraction_used") for limit in result.radiobiology.get("limits", ())]
    return max((100.0 * share for share in shares if share is not None), default=float("nan"))


def shown_results(node) -> list[Column]:
    """Return the results as the panel shows them: a value with its uncertainty in one cell, engines by name."""
    known = {column.name: column for column in shown_tables.columns_of(node)}
    rows = tables.rows_of(node)
    found = []
    for name, column in known.items():
        u = _u_of(name)
        if name in {_u_of(other) for other in known}:
            continue
        values, about = column.values, column.description
        if u in known:
            values = [shown_tables.pair(row[name], row[u]) for row in rows]
            about = " ".join(part for part in (about, f"\u00b1: {known[u].description}") if part)
        if name == "model":
            values = [model_title(value) for value in values]
        found.append(Column(_title(name), values, column.unit, about))
    return found


def _u_of(name: str) -> str:
    """Return the column that holds the uncertainty of a column."""
    engine, mean, unit = name.partition(" mean")
    return f"{engine} u mean{unit}" if mean else f"u {name}"


def _title(name: str) -> str:
    engine, blank, quantity = name.partition(" ")
    if blank and engine in engine_table.TITLES:
        return f"{engine_table.short_title(engine)}: {quantity}"
    return name


def model_title(name: str) -> str:
    """Return what the user reads of the model of a curve."""
    labels = {choice.value: choice.label() for choice in (*FitMethod, *FitModel)}
    return labels.get(name, name)


def in_words(problem: str) -> str:
    """Return a sentence of the library with the names of models and methods as the panel has them."""
    for choice in (*FitMethod, *FitModel):
        for quoted in (f"model {choice.value} ", f"'{choice.value}'"):
            problem = problem.replace(quoted, quoted.replace(choice.value, choice.label()))
    return problem


def write_dvh(case: Case, results: tuple[VoiResult, ...], engines: list[str]) -> None:
    """Write the histograms of all VOIs as a table, and the chart of those whose segment is shown."""
    highest = max((dvh.max_gy for r in results for dvh in r.dvh.values()), default=0.0) or 1.0
    dose_gy = np.linspace(0.0, highest, DVH_POINTS)
    columns = [Column("dose (Gy)", dose_gy.tolist(), "Gy")]
    series = []
    colors, shown = _colors(case), _shown(case)
    for result in results:
        for number, engine in enumerate(engines):
            if engine not in result.dvh:
                continue
            name = f"{result.name} {engine}"
            columns.append(Column(name, volume_percent(result.dvh[engine], dose_gy).tolist(), "%"))
            if result.name in shown:
                label = f"{result.name}, {engine_table.short_title(engine)}"
                series.append((label, name, colors.get(result.name, (0.2, 0.2, 0.2)), number > 0))
    table = tables.table_from(columns, "DVH", case.get(roles.DVH))
    case.set(roles.DVH, table)
    chart = tables.chart_from(
        [
            tables.Series(label, table, "dose (Gy)", name, color, dashed=dashed)
            for label, name, color, dashed in series
        ],
        _dvh_title(engines),
        "absorbed dose (Gy)",
        "volume (%)",
        case.get(roles.DVH_CHART),
    )
    chart.SetLegendVisibility(len(series) <= LONGEST_LEGEND)
    case.set(roles.DVH_CHART, chart)


def _dvh_title(engines: list[str]) -> str:
    names = [engine_table.short_title(engine) for engine in engines]
    title = f"DVH: {names[0]}" if names else "DVH"
    return f"{title} (dashed: {', '.join(names[1:])})" if names[1:] else title


def volume_percent(dvh, dose_gy: np.ndarray) -> np.ndarray:
    """Return the percentage of the volume that receives at least each dose."""
    first = np.searchsorted(dvh.sorted_dose_gy, dose_gy, side="left")
    volume = np.append(dvh.volume_at_least_ml, 0.0)[first]
    return 100.0 * volume / dvh.volume_ml


def write_curve(case: Case, result: VoiResult | None, live) -> None:
    """Write points and fitted curve of the selected VOI, and the chart of both."""
    if result is None:
        return
    time_h = list(live.registered().study.time_h)
    edit = edits.CurveEdit.from_dict(case.record("edits", {}).get(result.name, {}))
    used = list(edit.used) or [True] * len(time_h)
    measured = live.measured(result.name) or result
    points = [
        Column(TIME, time_h, "h", "after the administration"),
        Column(ACTIVITY, list(result.activity_mbq), "MBq"),
        Column(U, list(result.u_activity_mbq), "MBq", "k=1"),
        Column(USE, used, "", "leave a point out of the fit here"),
        Column(MEASURED, list(measured.activity_mbq), "MBq", "where the point was moved by hand"),
    ]
    table = tables.table_from(points, "Time-activity points", case.get(roles.ACTIVITIES))
    case.set(roles.ACTIVITIES, table)
    series = [tables.Series(f"{result.name}: points", table, TIME, ACTIVITY, (0.84, 0.37, 0.0), False, True)]
    if result.fit is not None:
        end = max(time_h) * 2.0
        times = np.linspace(0.0, end, 121)
        value, u = result.fit.predict(times)
        u = np.where(np.isfinite(u), u, 0.0)
        curve = [
            Column(TIME, times.tolist(), "h"),
            Column(ACTIVITY, value.tolist(), "MBq"),
            Column("lower (MBq)", np.maximum(value - u, 0.0).tolist(), "MBq"),
            Column("upper (MBq)", (value + u).tolist(), "MBq"),
        ]
        fitted = tables.table_from(curve, "Fitted curve", case.get(roles.CURVES))
        case.set(roles.CURVES, fitted)
        blue = (0.0, 0.45, 0.70)
        series += [
            tables.Series(f"{result.name}: {model_title(result.fit.model)}", fitted, TIME, ACTIVITY, blue),
            tables.Series(f"{result.name}: -u", fitted, TIME, "lower (MBq)", (0.6, 0.75, 0.9), dashed=True),
            tables.Series(f"{result.name}: +u", fitted, TIME, "upper (MBq)", (0.6, 0.75, 0.9), dashed=True),
        ]
    chart = tables.chart_from(
        series, f"Activity of {result.name}{_changes(edit, time_h)}", "time after administration (h)", "activity (MBq)",
        case.get(roles.CURVE_CHART),
    )  # fmt: skip
    # The mouse moves activities; the times of the scans are those of the files.
    chart.SetEnablePointMoveAlongX(False)
    case.set(roles.CURVE_CHART, chart)


def _changes(edit: edits.CurveEdit, time_h: list[float]) -> str:
    """Return what was changed about the points, for the title of a plot: it shows them all alike."""
    moved = [f"{time_h[int(position)]:.4g} h" for position in sorted(edit.moved_mbq, key=int)]
    left_out = [f"{time:.4g} h" for time, use in zip(time_h, edit.used, strict=bool(edit.used)) if not use]
    parts = [
        f"{what} {', '.join(times)}" for what, times in (("moved:", moved), ("left out:", left_out)) if times
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def shown_points(node) -> list[Column]:
    """Return the points of a curve as the panel shows them: what was measured only where it was moved."""
    rows = tables.rows_of(node)
    found = []
    for column in shown_tables.columns_of(node):
        if column.name == MEASURED:
            values = [
                "" if math.isclose(row[ACTIVITY], row[MEASURED], rel_tol=1e-6, abs_tol=1e-9) else text
                for row, text in zip(rows, column.values, strict=True)
            ]
            column = Column(column.name, values, column.unit, column.description)
        found.append(column)
    return found


def read_curve_edit(case: Case, result: VoiResult, model: str) -> edits.CurveEdit:
    """Return the edit that the table of points stands for, against what was measured."""
    rows = tables.rows_of(
        case.require(roles.ACTIVITIES, "The table of points was deleted; choose the VOI again.")
    )
    used = tuple(str(row[USE]).lower() not in ("0", "0.0", "false", "") for row in rows)
    moved = {
        str(position): float(row[ACTIVITY])
        for position, (row, measured) in enumerate(zip(rows, result.activity_mbq, strict=True))
        # A point without an activity (the scan does not hold the VOI) was not moved to nothing.
        if math.isfinite(row[ACTIVITY])
        and not math.isclose(float(row[ACTIVITY]), measured, rel_tol=1e-6, abs_tol=1e-9)
    }
    return edits.CurveEdit(model, () if all(used) else used, moved)


def _colors(case: Case) -> dict[str, tuple[float, float, float]]:
    node = case.get(roles.SEGMENTATION)
    if node is None:
        return {}
    segmentation = node.GetSegmentation()
    found = {}
    for segment_id in segments.segment_ids(node):
        segment = segmentation.GetSegment(segment_id)
        found[segment.GetName()] = tuple(segment.GetColor())
    return found


def _shown(case: Case) -> set[str]:
    """Return the names of the segments that are visible in the views."""
    node = case.get(roles.SEGMENTATION)
    if node is None:
        return set()
    display = node.GetDisplayNode()
    return {
        node.GetSegmentation().GetSegment(segment_id).GetName()
        for segment_id in segments.segment_ids(node)
        if display is None or display.GetSegmentVisibility(segment_id)
    }


def _of(fit, name: str) -> float:
    return float(getattr(fit, name)) if fit is not None else float("nan")


def _u_mean(result: VoiResult, engine: str) -> float:
    """Return the uncertainty of a mean dose, as the report states it."""
    if engine not in result.dvh:
        return float("nan")
    dvh, budget = result.dvh[engine], result.uncertainty.get(engine)
    return float(budget["relative_u_dose"] * dvh.mean_gy) if budget else _number(dvh.u_mean_gy)


def _u_tia(result: VoiResult) -> float:
    """Return the uncertainty of a TIA: of the whole budget where a dose has one, else of the fit."""
    if result.fit is None:
        return float("nan")
    budget = next(iter(result.uncertainty.values()), None)
    return float(budget["relative_u_tia"] * result.fit.tia_mbq_h if budget else result.fit.u_tia_mbq_h)


def _dvh(result: VoiResult, engine: str, name: str) -> float:
    return float(getattr(result.dvh[engine], name)) if engine in result.dvh else float("nan")


def _percentile(result: VoiResult, engine: str, percent: float) -> float:
    return result.dvh[engine].d(percent) if engine in result.dvh else float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
