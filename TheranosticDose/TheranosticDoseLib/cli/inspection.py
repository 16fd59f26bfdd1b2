"""How the DICOM doctor's page looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from TheranosticDoseLib.cli.console import say, show_table

if TYPE_CHECKING:
    from TheranosticDoseLib.dicom_io import Inspection


def show_inspection(inspection: Inspection) -> None:
    """Write a table a section: item, value, where it came from, status, how to repair it."""
    for section, rows in inspection.sections().items():
        cells = [[r.item, r.value, r.status, r.source, r.remedy] for r in rows]
        show_table(section, ["item", "value", "status", "source", "remedy"], cells)
        say()
