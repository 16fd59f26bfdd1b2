"""One plain page for what is no single patient's report: a cohort, cycles, an acceptance test."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from TheranosticDoseLib import DISCLAIMER


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    title : str
    text : str
        In front of the table.
    header, rows : sequence
        A table; a cell is a text, :func:`link` or :func:`tag`.
    text_columns : tuple of int
        Columns that are words (left-aligned, wrapped); the others are numbers.
    plot : plotly figure or None
    note : str
        Small print below.
    """

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    text_columns: tuple[int, ...] = ()
    plot: Any = None
    note: str = ""


def link(text: str, target: str) -> dict[str, str]:
    """Return a cell that leads to a file beside the page."""
    return {"text": text, "link": target}


def tag(text: str, kind: str) -> dict[str, str]:
    """Return a colored cell; ``kind`` is ``good``, ``bad`` or a severity of a finding."""
    return {"text": text, "tag": kind}


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return a self-contained HTML page that says that this is no medical device."""
    import jinja2
    from DoseSegmentationLib.resources import resource_path

    shown, plots = [], 0
    for section in sections:
        plot = ""
        if section.plot is not None:
            plot = section.plot.to_html(
                full_html=False,
                include_plotlyjs=False,
                div_id=f"plot-{plots}",
                config={"displaylogo": False, "responsive": True},
            )
            plots += 1
        shown.append(
            {**{f.name: getattr(section, f.name) for f in dataclasses.fields(section)}, "plot": plot}
        )
    plotly_js = ""
    if plots:
        from plotly.offline import get_plotlyjs

        plotly_js = get_plotlyjs()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_path("Report")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        title=title, subtitle=subtitle, sections=shown, disclaimer=DISCLAIMER, plotly_js=plotly_js
    )
