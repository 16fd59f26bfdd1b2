"""Findings: what was found, assumed or doubted on the way, kept with the result.

A value that comes from a default is never used in silence.  It becomes a
:class:`Finding` that travels with the study into ``results.json`` and the report.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SEVERITIES = ("info", "assumption", "warning", "missing")


@dataclass(frozen=True)
class Finding:
    """One statement about the input or about a step.

    Attributes
    ----------
    severity : str
        ``info`` (a fact worth knowing), ``assumption`` (a default was used),
        ``warning`` (a result is doubtful), ``missing`` (a value is absent and a step is left out).
    field : str
        What it is about, for example ``administration.activity_mbq``.
    message : str
        One sentence.
    value : Any
        The value that is used, JSON-serialisable.
    source : str
        Where the value came from (file and DICOM tag, manifest, default).
    remedy : str
        What would make it certain.
    """

    severity: str
    field: str
    message: str
    value: Any = None
    source: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            msg = f"severity must be one of {', '.join(SEVERITIES)}, not {self.severity!r}"
            raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON-serialisable dictionary."""
        return asdict(self)
