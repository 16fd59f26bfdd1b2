"""An acceptance as A4 pages with a place to sign."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from TheranosticDoseLib import DISCLAIMER, __version__

Table = tuple[str, Sequence[str], list[list[str]], tuple[float, ...], tuple[int, ...]]
"""Title, header, rows, widths, columns that are words."""


def acceptance_pdf(
    title: str, date: str, verdict: str, remarks: Sequence[str], tables: Sequence[Table]
) -> bytes:
    """Return the PDF; tables go over as many pages as they need."""
    from matplotlib.backends.backend_pdf import PdfPages

    from TheranosticDoseLib.report.sheet import Sheet

    header = f"{title}   {date}"
    footer = f"Research software, not a medical device. theranostic-dosimetry {__version__}"
    sheets = [Sheet(header, footer)]
    sheets[0].title(title, 17)
    sheets[0].banner(DISCLAIMER)
    sheets[0].text(verdict, 11, weight="bold")
    for remark in remarks:
        sheets[0].text(remark)
    sheets[0].fields(("Name", "Date", "Signature"), ("Accepted by",))
    for name, head, rows, widths, words in tables:
        while rows:
            if sheets[-1].room < 0.15:
                sheets.append(Sheet(header, footer))
            sheets[-1].title(name)
            done = sheets[-1].table([h.replace(", ", "\n") for h in head], rows, widths, words, 7.5)
            rows = rows[done:]
    buffer = io.BytesIO()
    with PdfPages(buffer, metadata={"Title": header, "Subject": DISCLAIMER}) as pdf:
        for sheet in sheets:
            pdf.savefig(sheet.figure)
    return buffer.getvalue()


def text_rows(rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Return the rows of a page with their tags and links as plain text."""
    return [[cell["text"] if isinstance(cell, dict) else str(cell) for cell in row] for row in rows]
