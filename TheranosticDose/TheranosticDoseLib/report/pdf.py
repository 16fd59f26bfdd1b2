"""The report as PDF: one page that says it all first, then findings, curves, pictures and provenance."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from TheranosticDoseLib.report.html import (
    BIOLOGY_HEADER,
    BIOLOGY_NOTE,
    SEVERITY_ORDER,
    biology_rows,
    expected_range,
    number,
)
from TheranosticDoseLib.report.sheet import LINE, SOFT, Sheet

if TYPE_CHECKING:
    from TheranosticDoseLib.workflow.results import Results

SUMMARY_ROWS, SUMMARY_FINDINGS = 18, 5
DASH = "\N{EN DASH}"


def pdf_report(
    results: Results, document: dict[str, Any], overview: list[tuple[str, bytes]] | None = None
) -> bytes:
    """Return the report as PDF (A4).

    Parameters
    ----------
    results : Results
    document : dict
        Of :func:`results_document`; every number comes from it.
    overview : list of (title, PNG), optional
        Of :func:`pictures.overview`, where they were drawn already.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages

    from TheranosticDoseLib.report import pictures

    buffer = io.BytesIO()
    name = document.get("patient_id") or "no patient name"
    information = {"Title": f"Internal dosimetry, {name}", "Subject": document["disclaimer"]}
    with rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}):
        sheets = list(_sheets(results, document, overview or pictures.overview(results)))
        with PdfPages(buffer, metadata=information) as pdf:
            for page, sheet in enumerate(sheets, start=1):
                sheet.figure.text(
                    0.925, 0.03, f"{page} / {len(sheets)}", size=7, color=SOFT, ha="right", va="center"
                )
                pdf.savefig(sheet.figure)
    return buffer.getvalue()


def _sheets(results: Results, document: dict[str, Any], shown: list[tuple[str, bytes]]) -> Iterator[Sheet]:
    summary = _summary(document)
    summary.picture(shown[1][1], shown[1][0])
    yield summary
    yield from _tables(
        document,
        "Absorbed dose",
        (
            "VOI",
            "Volume\nmL",
            "Mass\ng",
            "TIA\nMBq h",
            "u(TIA)\n%",
            "Schedule\n%",
            "Engine",
            "Mean\nGy",
            "u\n%",
            "D98\nGy",
            "D50\nGy",
            "D2\nGy",
        ),
        list(_dose_rows(document)),
        (3.0, 1.4, 1.4, 1.6, 1.2, 1.9, 2.2, 1.2, 1.0, 1.2, 1.2, 1.2),
        (0, 6),
    )
    widths = (2.6, 1.7, 1.1, 1.1, 1.2, 1.0, 1.2, 1.2, 1.2, 1.1, 1.1)
    rows = list(biology_rows(document))
    header = tuple(title.replace(", ", "\n") for title in BIOLOGY_HEADER)
    if rows:
        yield from _tables(document, "Radiobiology (models)", header, rows, widths, (0, 1), note=BIOLOGY_NOTE)
    rows = [
        [f["severity"], f["message"], f["source"], f["remedy"]]
        for f in sorted(document["findings"], key=lambda f: SEVERITY_ORDER.index(f["severity"]))
    ]
    header = ("What", "Finding", "Source", "What would make it certain")
    yield from _tables(document, "Findings", header, rows, (1.4, 6.2, 2.6, 3.2), (0, 1, 2, 3), 7.0)
    yield _plots(results, document)
    yield from _pictures(shown, document)
    yield from _provenance(document)


def _new(document: dict[str, Any]) -> Sheet:
    administration = document["administration"]
    when = (administration["datetime"] or "time not known").replace("T", " ")
    header = f"Internal dosimetry   {document.get('patient_id') or 'no patient name'}   {when}"
    seal = document["integrity"]["sha256"][:16]
    software = f"{document['software']['name']} {document['software']['version']}"
    footer = f"Research software, not a medical device. {software}, results {seal}"
    return Sheet(header, footer)


def _summary(document: dict[str, Any]) -> Sheet:
    sheet, first = _new(document), next(iter(document["engines"]))
    administration = document["administration"]
    sheet.title("Internal dosimetry", 19)
    sheet.banner(document["disclaimer"])
    agent = administration["radiopharmaceutical"] or administration["nuclide"]
    activity = administration["activity_mbq"]
    given = f"{activity / 1000:.3f} GBq" if activity else "activity not known"
    when = (administration["datetime"] or "time not known").replace("T", " ")
    scans = ", ".join(f"{point['time_h']:.1f}" for point in document["time_points"])
    sheet.text(f"Patient: {document.get('patient_id') or 'not named'}", 11, weight="bold")
    sheet.text(f"{agent}, {given}, {when}. Scans at {scans} h. Dose engine: {first}.", 9.5)
    sheet.gap(6)
    sheet.title("Absorbed dose")
    rows = list(_summary_rows(document, first))
    header = ("VOI", "Volume, mL", "Dose, Gy", "u, Gy", "Gy / GBq", "BED, Gy", "Nearest limit")
    sheet.table(header, rows[:SUMMARY_ROWS], (3.0, 1.5, 1.4, 1.2, 1.4, 1.4, 3.2), (0, 6))
    if len(rows) > SUMMARY_ROWS:
        sheet.text(f"{len(rows) - SUMMARY_ROWS} more are on the next page.", 8, SOFT)
    sheet.text(
        "Standard uncertainties (k = 1) of the mean dose; a dash where no budget was made. BED and limits are "
        "models and conventions with the sources given in results.json. Schedule (next page): the error of the TIA "
        "that 95 % of simulated patients have with these scan times, this method and this noise.",
        7.5,
        SOFT,
    )
    sheet.gap(4)
    _doubts(sheet, document)
    sheet.title("Signed off")
    sheet.fields(("Name", "Date", "Signature"), ("Computed by", "Reviewed by", "Approved by"))
    return sheet


def _doubts(sheet: Sheet, document: dict[str, Any]) -> None:
    counts = {s: sum(f["severity"] == s for f in document["findings"]) for s in SEVERITY_ORDER}
    sheet.title("Findings")
    words = {"missing": "missing", "warning": "warnings", "assumption": "assumptions", "info": "remarks"}
    sheet.text(", ".join(f"{n} {words[s]}" for s, n in counts.items()) + ". Those that matter most:", 9)
    listed = sorted(document["findings"], key=lambda f: SEVERITY_ORDER.index(f["severity"]))
    doubts = [f for f in listed if f["severity"] != "info"]
    for finding in doubts[:SUMMARY_FINDINGS]:
        message = finding["message"]
        sheet.text(f"{finding['severity']}: {message if len(message) < 230 else message[:227] + '...'}", 8)
    if not doubts:
        sheet.text("No assumption was made and nothing is missing.", 8)
    sheet.gap(4)


def _summary_rows(document: dict[str, Any], engine: str) -> Iterator[list[str]]:
    activity = document["administration"]["activity_mbq"]
    # Organs with a limit and lesions are what is decided on: they come first.
    order = sorted(
        document["vois"], key=lambda v: (not v.get("radiobiology", {}).get("limits"), v["kind"] == "body")
    )
    for voi in order:
        dose = voi["dose"][engine]
        yield [
            voi["name"],
            number(voi["volume_ml"]),
            number(dose["mean_gy"]),
            number(dose["u_mean_gy"], 2),
            number(dose["mean_gy"] / activity * 1000) if activity else DASH,
            number(voi["bed_gy"]),
            _nearest_limit(voi, dose["mean_gy"]),
        ]


def _nearest_limit(voi: dict[str, Any], mean_gy: float) -> str:
    used = {"dose": mean_gy, "bed": voi["bed_gy"]}
    shares = [
        (used[limit["quantity"]] / limit["limit_gy"], limit)
        for limit in voi.get("radiobiology", {}).get("limits", [])
        if used.get(limit["quantity"]) is not None
    ]
    if not shares:
        return DASH
    share, limit = max(shares, key=lambda pair: pair[0])
    name = {"dose": "dose", "bed": "BED"}[limit["quantity"]]
    return f"{100 * share:.0f} % of {name} {limit['limit_gy']:g} Gy"


def _dose_rows(document: dict[str, Any]) -> Iterator[list[str]]:
    for voi in document["vois"]:
        for position, (engine, dose) in enumerate(voi["dose"].items()):
            relative = voi["tia_rel_u"]
            head = [voi["name"], number(voi["volume_ml"]), number(voi["mass_g"]), number(voi["tia_mbq_h"], 4)]
            head += [number(100 * relative, 2) if relative is not None else DASH, expected_range(voi)]
            u, mean = dose["u_mean_gy"], dose["mean_gy"]
            share = number(100 * u / mean, 2) if u is not None and mean > 0 else DASH
            levels = [number(dose[key]) for key in ("d98_gy", "d50_gy", "d2_gy")]
            yield [*(head if position == 0 else [""] * 6), engine, number(mean), share, *levels]


def _tables(
    document: dict[str, Any],
    title: str,
    header: tuple[str, ...],
    rows: list[list[str]],
    widths: tuple[float, ...],
    words: tuple[int, ...],
    size: float = 7.5,
    note: str = "",
) -> Iterator[Sheet]:
    """Give as many pages as the rows need; the note stands above the first row."""
    first = True
    while rows or first:
        sheet = _new(document)
        sheet.title(title if first else f"{title}, continued")
        if note and first:
            sheet.text(note, 7.5, SOFT)
        done = sheet.table(header, rows, widths, words, size) if rows else 0
        if not rows:
            sheet.text("None.")
        # A row taller than a page would never fit: it is cut.
        if rows and done == 0:
            rows[0] = [cell[:600] for cell in rows[0]]
            done = sheet.table(header, rows[:1], widths, words, size) or 1
        rows, first = rows[done:], False
        yield sheet


def _plots(results: Results, document: dict[str, Any]) -> Sheet:
    from TheranosticDoseLib.report.pictures import color_of

    sheet = _new(document)
    sheet.title("Time-activity curves")
    (curves,) = sheet.axes(0.37)
    shown = [r for r in results.vois if r.voi.kind != "body"]
    times = np.array(results.study.time_h)
    grid = np.concatenate(
        [np.linspace(0, times[0], 20), np.linspace(times[0], max(1.6 * times[-1], 120), 150)]
    )
    for position, result in enumerate(r for r in shown if r.fit is not None):
        color = color_of(result.name, position)
        activity, u = (np.asarray(v, float) for v in result.fit.predict(grid))
        u = np.where(np.isfinite(u), u, 0.0)
        curves.plot(grid, activity, color=color, linewidth=1.1)
        curves.fill_between(
            grid,
            np.maximum(activity - u, 1e-3 * activity.max()),
            activity + u,
            color=color,
            alpha=0.15,
            linewidth=0,
        )
        bars = {"yerr": result.u_activity_mbq, "fmt": "o", "markersize": 3, "elinewidth": 0.8}
        curves.errorbar(times, result.activity_mbq, color=color, label=result.name, **bars)
    curves.set_yscale("log")
    _finish(curves, "time after administration, h", "activity, MBq")
    sheet.gap(6)
    sheet.title("Dose-volume histograms")
    (dvhs,) = sheet.axes(0.37)
    styles = ("-", "--", ":", "-.")
    for position, result in enumerate(shown):
        for style, (engine, dvh) in zip(styles, result.dvh.items(), strict=False):
            name = f"{result.name}, {engine}" if len(result.dvh) > 1 else result.name
            dvhs.plot(
                *dvh.curve(160), style, color=color_of(result.name, position), linewidth=1.1, label=name
            )
    _finish(dvhs, "absorbed dose, Gy", "volume, %")
    return sheet


def _finish(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.grid(color=LINE, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6.5, ncols=2, frameon=False, loc="upper right")


def _pictures(shown: list[tuple[str, bytes]], document: dict[str, Any]) -> Iterator[Sheet]:
    sheet = _new(document)
    sheet.title("Images")
    for caption, data in shown:
        if not sheet.picture(data, caption):
            yield sheet
            sheet = _new(document)
            sheet.title("Images, continued")
            sheet.picture(data, caption)
    yield sheet


def _provenance(document: dict[str, Any]) -> Iterator[Sheet]:
    software = document["software"]
    seal = document["integrity"]["sha256"]
    rows = [
        ["Result", f"{seal[:32]}\n{seal[32:]}", "seal of results.json (SHA-256)"],
        ["Software", f"{software['name']} {software['version']}", f"Python {software['python']}"],
        ["Platform", software["platform"], ""],
    ]
    rows += [["Package", name, version] for name, version in software.get("packages", {}).items()]
    rows += [
        [f"Engine {name}", e["version"], f"{e['seconds']:.1f} s on {e['device']}"]
        for name, e in document["engines"].items()
    ]
    rows.append(["Input", f"{len(document['inputs'])} files", "each with its SHA-256 in results.json"])
    for entry in document["audit"]:
        what = f"{entry['product']}" + (f" ({entry['by']})" if entry["by"] else "")
        rows.append([f"Step: {entry['step']}", what, f"{entry['sha256'][:24]} {entry['finished'] or ''}"])
    header = ("What", "Name", "Version, time or hash")
    yield from _tables(document, "Provenance", header, rows, (2.0, 6.0, 4.6), (0, 1, 2), 7.0)
