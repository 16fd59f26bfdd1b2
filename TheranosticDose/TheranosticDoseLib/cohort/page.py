"""Table and page of a cohort."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.files import staged, to_json
from TheranosticDoseLib.report.html import number
from TheranosticDoseLib.report.page import Section, link, page, tag
from TheranosticDoseLib.report.tables import csv_text

if TYPE_CHECKING:
    from TheranosticDoseLib.cohort.run import BatchResult

VOI_COLUMNS = ("voi", "kind", "volume_ml", "mass_g", "tia_mbq_h", "tia_rel_u")
DOSE_COLUMNS = ("mean_gy", "u_mean_gy", "d98_gy", "d50_gy", "d2_gy")
HEADER = ("patient", "activity_mbq", *VOI_COLUMNS, "engine", *DOSE_COLUMNS, "gy_per_gbq", "bed_gy", "eqd2_gy")


def write_summary(result: BatchResult) -> None:
    """Write ``cohort.csv`` (a row a patient, VOI and engine), ``patients.csv``, ``cohort.json``, ``cohort.html``."""
    documents = _documents(result)
    rows = [row for name, document in documents.items() for row in _rows(name, document)]
    states = [[p["id"], p["status"], p["message"], p["seconds"]] for p in result.patients]
    with staged(result.out, keep_earlier=False) as folder:
        contents = {
            "cohort.csv": csv_text(HEADER, rows),
            "patients.csv": csv_text(("patient", "status", "message", "seconds"), states),
            "cohort.json": to_json({"seconds": result.seconds, "patients": result.patients}),
            "cohort.html": page("Cohort", _subtitle(result), _sections(result, documents, rows)),
        }
        contents |= _features(result, documents)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")


def _documents(result: BatchResult) -> dict[str, dict[str, Any]]:
    from TheranosticDoseLib.cohort.run import FAILED, PATIENTS

    done = [patient["id"] for patient in result.patients if patient["status"] != FAILED]
    files = {name: result.out / PATIENTS / name / "results.json" for name in done}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}


def _features(result: BatchResult, documents: dict[str, Any]) -> dict[str, str]:
    """Return the table of all patients' dosiomics features with its dictionary; nothing where none were asked for."""
    from TheranosticDoseLib.cohort.run import PATIENTS
    from TheranosticDoseLib.dosiomics import dictionary_csv, table_csv

    rows = []
    for name, document in documents.items():
        if document["settings"].get("dosiomics") is None:
            continue
        path = result.out / PATIENTS / name / "tables" / "features.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows += [{**row, "case": name} for row in csv.DictReader(file)]
    return {"features.csv": table_csv(rows), "features_dictionary.csv": dictionary_csv()} if rows else {}


def _rows(name: str, document: dict[str, Any]) -> list[list[Any]]:
    activity = document["administration"]["activity_mbq"]
    rows = []
    for voi in document["vois"]:
        head = [voi["name"], *(voi[key] for key in VOI_COLUMNS[1:])]
        for position, (engine, dose) in enumerate(voi["dose"].items()):
            per_gbq = dose["mean_gy"] / activity * 1000 if activity else None
            biology = [voi["bed_gy"], voi["eqd2_gy"]] if position == 0 else [None, None]
            values = [dose.get(key) for key in DOSE_COLUMNS]
            rows.append([name, activity, *head, engine, *values, per_gbq, *biology])
    return rows


def _subtitle(result: BatchResult) -> str:
    from TheranosticDoseLib.cohort.run import EARLIER, FAILED, FINISHED

    return (
        f"{len(result.patients)} patients: {result.count(FINISHED)} computed, {result.count(EARLIER)} finished "
        f"earlier, {result.count(FAILED)} failed; {result.seconds:.0f} s"
    )


def _sections(result: BatchResult, documents: dict[str, Any], rows: list[list[Any]]) -> list[Section]:
    from TheranosticDoseLib.cohort.run import FAILED, PATIENTS

    states = []
    for patient in result.patients:
        name, failed = patient["id"], patient["status"] == FAILED
        document = documents.get(name)
        doubts = sum(f["severity"] != "info" for f in document["findings"]) if document else None
        states.append(
            [
                name if failed else link(name, f"{PATIENTS}/{name}/report.html"),
                tag(patient["status"], "bad" if failed else "good"),
                number(document["administration"]["activity_mbq"], 4) if document else number(None),
                "\N{EN DASH}" if doubts is None else str(doubts),
                f"{patient['seconds']:.1f}",
                patient["message"],
            ]
        )
    header = ("Patient", "Status", "Activity, MBq", "Doubts", "Seconds", "Message")
    sections = [
        Section("Patients", header=header, rows=states, text_columns=(5,), note="Doubts: assumptions, warnings "
                "and missing values in the patient's report.")
    ]  # fmt: skip
    if rows:
        sections += [_statistics(rows), Section("Dose per administered activity", plot=_plot(rows))]
    return sections


def _statistics(rows: list[list[Any]]) -> Section:
    """Mean, standard deviation and range of dose and dose per GBq over the patients."""
    import numpy as np

    groups: dict[tuple[str, str], list[list[Any]]] = {}
    for row in rows:
        groups.setdefault((row[HEADER.index("voi")], row[HEADER.index("engine")]), []).append(row)
    table = []
    for (voi, engine), members in sorted(groups.items()):
        cells = [voi, engine, str(len(members))]
        for key in ("mean_gy", "gy_per_gbq"):
            values = np.array(
                [m[HEADER.index(key)] for m in members if m[HEADER.index(key)] is not None], float
            )
            spread = float(values.std(ddof=1)) if values.size > 1 else None
            low, high = (values.min(), values.max()) if values.size else (None, None)
            mean = float(values.mean()) if values.size else None
            cells += [number(mean), number(spread), f"{number(low)} to {number(high)}"]
        table.append(cells)
    header = ("VOI", "Engine", "n", "Mean dose, Gy", "SD", "Range", "Gy per GBq", "SD", "Range")
    return Section("Volumes of interest", header=header, rows=table, text_columns=(1,))


def _plot(rows: list[list[Any]]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    engines = list(dict.fromkeys(row[HEADER.index("engine")] for row in rows))
    for engine in engines:
        mine = [r for r in rows if r[HEADER.index("engine")] == engine and r[HEADER.index("gy_per_gbq")]]
        figure.add_trace(
            go.Box(
                x=[row[HEADER.index("voi")] for row in mine],
                y=[row[HEADER.index("gy_per_gbq")] for row in mine],
                text=[row[0] for row in mine],
                name=engine,
                boxpoints="all",
            )
        )
    figure.update_yaxes(type="log", title="mean absorbed dose per activity, Gy/GBq")
    figure.update_layout(template="plotly_white", boxmode="group", height=460, margin={"t": 20, "r": 20})
    return figure
