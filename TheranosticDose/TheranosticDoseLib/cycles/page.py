"""Table and page of an account over cycles."""

from __future__ import annotations

from typing import Any

from TheranosticDoseLib.report.html import number
from TheranosticDoseLib.report.page import Section, page, tag
from TheranosticDoseLib.report.tables import csv_text

COLUMNS = (
    "cycle",
    "name",
    "volume_ml",
    "mass_g",
    "tia_mbq_h",
    "dose_gy",
    "u_dose_gy",
    "gy_per_gbq",
    "bed_gy",
    "u_bed_gy",
)

NAMES = {"dose": "dose", "bed": "BED"}


def account_table(document: dict[str, Any]) -> str:
    """Return CSV: a row a VOI and cycle, and one with the sums."""
    rows = []
    for voi in document["vois"]:
        rows += [[voi["name"], voi["kind"], *(row[key] for key in COLUMNS)] for row in voi["cycles"]]
        sums = {
            "cycle": "sum",
            "name": voi["name"],
            **{k: voi[k] for k in ("dose_gy", "u_dose_gy", "bed_gy", "u_bed_gy")},
        }
        rows.append([voi["name"], voi["kind"], *(sums.get(key) for key in COLUMNS)])
    return csv_text(("voi", "kind", *("name_in_cycle" if c == "name" else c for c in COLUMNS)), rows)


def account_page(document: dict[str, Any]) -> str:
    """Return the page."""
    sections = [
        _budget(document),
        _doses(document),
        _lesions(document),
        _cycles(document),
        _ct(document),
        _findings(document),
    ]
    subtitle = f"{len(document['cycles'])} cycles, dose engine {document['engine']}"
    title = "Cycles" + (f": {document['patient_id']}" if document["patient_id"] else "")
    return page(title, subtitle, [section for section in sections if section is not None])


def _budget(document: dict[str, Any]) -> Section:
    confidence = 100 * document["settings"]["confidence"]
    rows = []
    for voi in document["vois"]:
        for limit in voi["limits"]:
            used = limit["fraction_used"]
            state = (
                "-"
                if used is None
                else tag(f"{100 * used:.0f} %", "bad" if used >= 1 else "warning" if used > 0.8 else "good")
            )
            rows.append(
                [
                    voi["name"],
                    f"{NAMES[limit['quantity']]} {limit['limit_gy']:g} Gy: {limit['meaning']}",
                    _pm(limit["used_gy"], limit["u_used_gy"]),
                    state,
                    number(limit["remaining_gy"]),
                    number(limit.get("activity_expected_gbq")),
                    number(limit.get("activity_safe_gbq")),
                ]
            )
    header = (
        "VOI",
        "Limit",
        "Used, Gy",
        "Used",
        "Left, Gy",
        "Next activity, GBq: expected",
        f"with {confidence:g} % confidence",
    )
    note = (
        "BED is a model. Doses are added up with full repair between cycles; the uncertainties (k = 1) of the cycles "
        "are taken as fully correlated. The activity is that at which the limit would be reached."
    )
    text = "" if rows else "No VOI has a limit in the table of this program."
    return Section("Budget to each limit and next cycle", text, header if rows else (), rows, (1,), note=note)


def _pm(value: float | None, u: float | None) -> str:
    return number(value) + (f" \N{PLUS-MINUS SIGN} {number(u, 2)}" if u else "")


def _doses(document: dict[str, Any]) -> Section:
    labels = [cycle["label"] for cycle in document["cycles"]]
    rows = []
    for voi in (v for v in document["vois"] if v["kind"] != "lesion"):
        by_label = {row["cycle"]: row for row in voi["cycles"]}
        doses = [
            number(by_label[label]["dose_gy"]) if label in by_label else "\N{EN DASH}" for label in labels
        ]
        ahead = voi["forecast"]
        next_one = _pm(ahead["gy_per_gbq"], ahead["gy_per_gbq"] * ahead["relative_u"]) if ahead else "-"
        rows.append(
            [
                voi["name"],
                *doses,
                _pm(voi["dose_gy"], voi["u_dose_gy"]),
                _pm(voi["bed_gy"], voi["u_bed_gy"]),
                next_one,
            ]
        )
    header = ("VOI", *(f"{label}, Gy" for label in labels), "Sum, Gy", "BED, Gy", "Next cycle, Gy/GBq")
    return Section("Accumulated dose", header=header, rows=rows)


def _lesions(document: dict[str, Any]) -> Section | None:
    labels = [cycle["label"] for cycle in document["cycles"]]
    rows = []
    for voi in (v for v in document["vois"] if v["kind"] == "lesion"):
        by_label = {row["cycle"]: row for row in voi["cycles"]}
        cells = [_lesion(by_label[label]) if label in by_label else "\N{EN DASH}" for label in labels]
        rows.append([voi["name"], *cells, number(voi["dose_gy"]), number(voi["bed_gy"])])
    if not rows:
        return None
    return Section("Lesions", header=("Lesion", *labels, "Sum, Gy", "BED, Gy"), rows=rows)


def _lesion(row: dict[str, Any]) -> str:
    volume, dose, rate = (number(row[key]) for key in ("volume_ml", "dose_gy", "gy_per_gbq"))
    return f"{volume} mL, {dose} Gy, {rate} Gy/GBq"


def _cycles(document: dict[str, Any]) -> Section:
    rows = [
        [
            c["label"],
            c["datetime"] or "-",
            number(c["activity_gbq"]),
            c["nuclide"],
            c["folder"],
            c["results_sha256"][:12],
        ]
        for c in document["cycles"]
    ]
    header = ("Cycle", "Injection", "Activity, GBq", "Nuclide", "Results", "SHA-256")
    return Section("Cycles", header=header, rows=rows, text_columns=(1, 3, 4))


def _ct(document: dict[str, Any]) -> Section | None:
    if not document["ct"]:
        return None
    rows = [
        [
            d["date"],
            d["description"],
            number(d["ctdivol_mgy"]),
            number(d["dlp_mgy_cm"]),
            number(d["effective_msv"]),
            d["source"],
        ]
        for d in document["ct"]
    ]
    total = sum(d["dlp_mgy_cm"] for d in document["ct"])
    rows.append(["Sum", "", "", number(total), number(sum(d["effective_msv"] for d in document["ct"])), ""])
    header = ("Date", "CT", "CTDIvol, mGy", "DLP, mGy cm", "Effective dose, mSv", "From")
    note = "Effective dose: 0.015 mSv per mGy cm of the trunk of an adult (AAPM Report 96), an estimate."
    return Section("CT doses", header=header, rows=rows, text_columns=(1, 5), note=note)


def _findings(document: dict[str, Any]) -> Section:
    rows = [[tag(f["severity"], f["severity"]), f["message"], f["remedy"]] for f in document["findings"]]
    return Section(
        "Findings", header=("What", "Finding", "What would make it certain"), rows=rows, text_columns=(1, 2)
    )
