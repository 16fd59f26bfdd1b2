"""Radiopharmaceutical radiation dose reports: the one standard object that states the residual."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

from TheranosticDoseLib.dicom_io.clock import parse_datetime, zone_of
from TheranosticDoseLib.dicom_io.scan import Header, item_of, items_of, number_of, value_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# DCM codes of PS3.16 TID 10022.
_ADMINISTERED, _BEFORE, _AFTER, _START = "113507", "113508", "113509", "123003"
_MBQ = {"Bq": 1e-6, "kBq": 1e-3, "MBq": 1.0, "GBq": 1e3, "Ci": 37e3, "mCi": 37.0, "uCi": 0.037}


@dataclasses.dataclass(frozen=True)
class DoseReport:
    """What a radiopharmaceutical radiation dose report says; MBq, ``None`` where it is silent."""

    source: str
    administered_mbq: float | None
    before_mbq: float | None
    after_mbq: float | None
    start: dt.datetime | None

    @property
    def net_mbq(self) -> float | None:
        """Activity that reached the patient, MBq."""
        if self.administered_mbq is not None:
            return self.administered_mbq
        if self.before_mbq is not None and self.after_mbq is not None:
            return self.before_mbq - self.after_mbq
        return None


def dose_report_of(header: Header) -> DoseReport:
    """Return the content of a report that :func:`scan.find_objects` found."""
    found: dict[str, Dataset] = {}
    _collect(header.dataset, found, 0)
    start = found.get(_START)
    zone = zone_of(header.get("TimezoneOffsetFromUTC"))
    return DoseReport(
        header.name,
        _activity(found.get(_ADMINISTERED)),
        _activity(found.get(_BEFORE)),
        _activity(found.get(_AFTER)),
        parse_datetime(value_of(start, "DateTime"), zone),
    )


def _collect(dataset: Dataset, found: dict[str, Dataset], depth: int) -> None:
    """Gather the content items by the code of their concept, the first of each."""
    for item in items_of(dataset, "ContentSequence") if depth < 12 else []:
        code = str(value_of(item_of(item, "ConceptNameCodeSequence"), "CodeValue", ""))
        found.setdefault(code, item)
        _collect(item, found, depth + 1)


def _activity(item: Dataset | None) -> float | None:
    """Return a measured activity in MBq."""
    measured = item_of(item, "MeasuredValueSequence")
    value = number_of(measured, "NumericValue")
    unit = str(value_of(item_of(measured, "MeasurementUnitsCodeSequence"), "CodeValue", "MBq"))
    return value * _MBQ[unit] if value is not None and value >= 0 and unit in _MBQ else None
