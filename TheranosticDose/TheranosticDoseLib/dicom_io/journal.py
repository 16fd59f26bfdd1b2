"""What the loader found: rows for the reader, findings for the report, and errors.

``load_study`` and ``inspect_path`` walk the same way.  The one difference is the
journal: a strict one raises the first error, a patient one keeps it as a row and goes on.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from TheranosticDoseLib.errors import TheranosticDoseError
from TheranosticDoseLib.findings import Finding

STATUSES = ("ok", "set", "assumed", "doubtful", "missing", "unusable", "error")
_STATUS_OF = {"info": "ok", "assumption": "assumed", "warning": "doubtful", "missing": "missing"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the page of ``inspect``."""

    section: str
    item: str
    value: Any
    source: str = ""
    status: str = "ok"
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return dataclasses.asdict(self)


class Journal:
    """Collects rows, findings and errors of one reading.

    Parameters
    ----------
    strict : bool
        Whether :meth:`fail` raises (``load_study``) or keeps the error (``inspect_path``).
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self.rows: list[Row] = []
        self.findings: list[Finding] = []
        self.errors: list[TheranosticDoseError] = []

    def row(
        self, section: str, item: str, value: Any, source: str = "", status: str = "ok", remedy: str = ""
    ):
        """Add a line to the page."""
        self.rows.append(Row(section, item, value, source, status, remedy))

    def find(
        self,
        severity: str,
        field: str,
        message: str,
        *,
        value: Any = None,
        source: str = "",
        remedy: str = "",
        section: str = "",
        item: str = "",
        status: str = "",
    ) -> None:
        """Add a finding, and its line to the page (a ``section`` of "" leaves that out)."""
        finding = Finding(severity, field, message, value, source, remedy)
        if finding in self.findings:
            return
        self.findings.append(finding)
        if section:
            self.row(section, item or field, message, source, status or _STATUS_OF[severity], remedy)

    def fail(self, error: TheranosticDoseError, section: str, item: str, remedy: str = "") -> None:
        """Raise ``error``, or keep it where the journal is patient."""
        if self.strict:
            raise error
        self.errors.append(error)
        self.row(section, item, str(error), "", "error", remedy)
