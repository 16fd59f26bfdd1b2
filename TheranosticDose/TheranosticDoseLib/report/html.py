"""The report as one HTML page that needs no network."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.report import pictures, plots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from TheranosticDoseLib.workflow.results import Results

BIOLOGY_HEADER = (
    "VOI", "Tissue", "\N{GREEK SMALL LETTER ALPHA}/\N{GREEK SMALL LETTER BETA}, Gy", "Repair, h", "BED, Gy",
    "u, Gy", "EQD2, Gy", "EUD, Gy", "EUBED, Gy", "NTCP", "TCP",
)  # fmt: skip
BIOLOGY_NOTE = (
    "Models, not measurements, of the first engine's dose; u is that of the dose alone (k = 1), the parameters are "
    "taken as exact. A star marks parameters that are a convention and no data of that tissue. EUD, EUBED and TCP "
    "need an alpha, which only tumors are given; NTCP takes the VOI for the whole organ. Sources are in results.json "
    "and tables/radiobiology.csv, with 'checked' where a second source was seen to state the same values."
)
SEVERITY_ORDER = ("missing", "warning", "assumption", "info")


def html_report(
    results: Results,
    document: dict[str, Any],
    truth: dict[str, Any] | None = None,
    overview: list[tuple[str, bytes]] | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    results : Results
    document : dict
        Of :func:`results_document`; every number of the page comes from it.
    truth : dict, optional
        Table of truth against result of a virtual patient (``demo``).
    overview : list of (title, PNG), optional
        Of :func:`pictures.overview`, where they were drawn already.
    """
    import jinja2
    from DoseSegmentationLib.resources import resource_path
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_path("Report")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    environment.filters["expected"] = expected_range
    first = next(iter(results.doses))
    figures = {
        "activity": plots.time_activity_figure(results),
        "dvh": plots.dvh_figure(results),
        "budget": plots.budget_figure(results, first),
    }
    return environment.get_template("report.html.j2").render(
        document=document,
        biology={"header": BIOLOGY_HEADER, "rows": list(biology_rows(document)), "note": BIOLOGY_NOTE},
        findings=sorted(document["findings"], key=lambda f: SEVERITY_ORDER.index(f["severity"])),
        engines=list(results.doses),
        first=first,
        plots={name: _plot(figure, name) for name, figure in figures.items() if figure is not None},
        pictures=_pictures(results, overview or pictures.overview(results)),
        comparison=results.comparison.html() if results.comparison is not None else "",
        plotly_js=get_plotlyjs(),
        truth=truth,
    )


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, without an exponent where it can be; a dash for none."""
    if value is None:
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    if abs(value) >= 10**digits:
        return f"{value:.0f}" if abs(value) < 1e6 else f"{value:.{digits - 1}e}"
    return f"{value:#.{digits}g}".rstrip(".") if abs(value) >= 1e-3 else f"{value:.{digits - 1}e}"


def biology_rows(document: dict[str, Any]) -> Iterator[list[str]]:
    """Give a row a VOI with a curve: the models of :func:`radiobiology.evaluate`."""
    for voi in document["vois"]:
        found = voi["radiobiology"]
        if voi["bed_gy"] is None:
            continue
        star = "*" if found["status"] == "convention" else ""
        models = [found.get(key) for key in ("eud_gy", "eubed_gy")]
        chances = [(found.get(key) or {}).get("probability") for key in ("ntcp", "tcp")]
        yield [
            voi["name"],
            f"{found['tissue']}{star}",
            f"{found['alpha_beta_gy']:g}",
            f"{found['repair_half_time_h']:g}",
            number(voi["bed_gy"]),
            number(found.get("u_bed_gy"), 2),
            number(voi["eqd2_gy"]),
            *(number(value) for value in models),
            *("\N{EN DASH}" if chance is None else f"{100 * chance:.1f} %" for chance in chances),
        ]


def expected_range(voi: dict[str, Any]) -> str:
    """Return the error that 95 % of simulated patients have with the schedule of a VOI, in percent."""
    error = voi.get("expected_error")
    if not error:
        return "\N{EN DASH}"
    return f"{100 * error['low']:+.0f} to {100 * error['high']:+.0f}"


def _plot(figure: Any, name: str) -> str:
    return figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"plot-{name}",
        config={"displaylogo": False, "responsive": True},
    )


def _pictures(results: Results, overview: list[tuple[str, bytes]]) -> list[dict[str, str]]:
    """Title and data URI of each picture: the overview, then the registrations."""
    from TheranosticDoseLib.registration.pictures import quality_pictures

    shown = list(overview)
    for acquisition in results.study.acquisitions:
        if acquisition.label != results.registered.reference:
            for title, data in quality_pictures(results.registered, acquisition.label).items():
                shown.append((f"Registration of {acquisition.label}: {title}", data))
    return [
        {"title": title, "uri": "data:image/png;base64," + base64.b64encode(data).decode("ascii")}
        for title, data in shown
    ]
