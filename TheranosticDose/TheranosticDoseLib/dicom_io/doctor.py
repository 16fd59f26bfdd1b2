"""The DICOM doctor: what was found, where it came from, what is doubtful and how to repair it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from TheranosticDoseLib.dicom_io.journal import Journal, Row
from TheranosticDoseLib.dicom_io.overrides import Overrides
from TheranosticDoseLib.dicom_io.scan import quiet_pydicom
from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.findings import Finding

_FIRST = ("Summary", "Patient", "Administration")
_LAST = ("Activity balance", "VOIs", "Objects")


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The page of ``inspect``.

    Attributes
    ----------
    path : str
        What was inspected.
    usable : bool
        Whether ``load_study`` would give a study.
    table : tuple of Row
        ``section``, ``item``, ``value``, ``source``, ``status``, ``remedy``.
    findings : tuple of Finding
    errors : tuple of str
        What stops ``load_study``, one sentence each.
    """

    path: str
    usable: bool
    table: tuple[Row, ...]
    findings: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return ``(section, item, value, source, status, remedy)`` as text, in the order of the page."""
        return [
            (row.section, row.item, str(row.value), row.source, row.status, row.remedy) for row in self.table
        ]

    def sections(self) -> dict[str, list[Row]]:
        """Return the rows by section, in the order of the page."""
        found: dict[str, list[Row]] = {}
        for row in self.table:
            found.setdefault(row.section, []).append(row)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {
            "path": self.path,
            "usable": self.usable,
            "errors": list(self.errors),
            "rows": [row.to_dict() for row in self.table],
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_text(self) -> str:
        """Return the page as plain text."""
        lines = [f"{self.path}: {'can be loaded' if self.usable else 'cannot be loaded'}"]
        lines += [f"  ERROR {text}" for text in self.errors]
        for section, rows in self.sections().items():
            lines += ["", section]
            for row in rows:
                source = f"  [{row.source}]" if row.source else ""
                remedy = f"  -> {row.remedy}" if row.remedy else ""
                lines.append(f"  {row.status:9s} {row.item}: {row.value}{source}{remedy}")
        return "\n".join(lines)


def inspect_path(path: str | Path, overrides: Overrides | None = None) -> Inspection:
    """Return what is in a folder, each value with its source, each doubt with its remedy.

    Parameters
    ----------
    path : path
        As for ``load_study``.
    overrides : Overrides, optional
        As for ``load_study``.

    Returns
    -------
    Inspection
        Never raises for what the files hold; what stops a load is in ``errors``.
    """
    from TheranosticDoseLib.dicom_io.load import read_study

    journal = Journal(strict=False)
    study = None
    try:
        with quiet_pydicom():
            study = read_study(Path(path), overrides, journal)
    except TheranosticDoseError as error:
        journal.fail(error, "Summary", "not usable")
    errors = tuple(dict.fromkeys(str(error) for error in journal.errors))
    usable = study is not None and not errors
    rows = [
        Row(
            "Summary",
            "result",
            "can be loaded" if usable else "cannot be loaded",
            "",
            "ok" if usable else "error",
        )
    ]
    rows += dict.fromkeys(journal.rows)
    rows.sort(key=lambda row: _place(row.section))
    return Inspection(str(path), usable, tuple(rows), tuple(journal.findings), errors)


def _place(section: str) -> int:
    """Return where a section stands on the page; the acquisitions stand in the middle."""
    if section in _FIRST:
        return _FIRST.index(section)
    return 100 + _LAST.index(section) if section in _LAST else 50
