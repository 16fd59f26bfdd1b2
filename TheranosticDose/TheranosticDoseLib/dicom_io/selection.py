"""One reconstruction for each acquisition: which of several series to take."""

from __future__ import annotations

from TheranosticDoseLib.dicom_io.administration import Dose
from TheranosticDoseLib.dicom_io.clock import difference_h
from TheranosticDoseLib.dicom_io.journal import Journal
from TheranosticDoseLib.dicom_io.scan import OBJECTS, Series
from TheranosticDoseLib.errors import InputError

_SAME_START_H = 1.0 / 60.0


def choose_series(doses: list[Dose], journal: Journal) -> list[Dose]:
    """Return one series for each acquisition.

    Series that started within a minute of each other are reconstructions of one scan.
    The one in Bq/mL, then the one with attenuation and scatter correction, is taken and
    the choice is told; where that does not decide, the user must.
    """
    groups: list[list[Dose]] = []
    for dose in doses:
        group = next((g for g in groups if _same_scan(g[0].series, dose.series)), None)
        groups.append([dose]) if group is None else group.append(dose)
    return [_best(group, journal) for group in groups]


def _same_scan(first: Series, second: Series) -> bool:
    """Whether two series started at the same time."""
    a, b = first.start, second.start
    return a is not None and b is not None and abs(difference_h(a.value, b.value)) < _SAME_START_H


def _rank(series: Series) -> tuple[int, int]:
    """Return how well a reconstruction serves: quantitative first, then the number of corrections."""
    units = str(series.get("Units", "") or "").upper()
    quantitative = units == "BQML" or series.get("RealWorldValueMappingSequence") is not None
    corrected = series.get("CorrectedImage", [])
    corrected = {str(value).upper() for value in ([corrected] if isinstance(corrected, str) else corrected)}
    attenuation = "ATTN" in corrected or bool(series.get("AttenuationCorrectionMethod"))
    scatter = "SCAT" in corrected or bool(series.get("ScatterCorrectionMethod"))
    return int(quantitative), int(attenuation) + int(scatter)


def _best(group: list[Dose], journal: Journal) -> Dose:
    """Return the series of a group; the others are told."""
    if len(group) == 1:
        return group[0]
    ranked = sorted(group, key=lambda dose: _rank(dose.series), reverse=True)
    names = " and ".join(f"{dose.series.title} ({dose.series.uid})" for dose in ranked)
    if _rank(ranked[0].series) == _rank(ranked[1].series):
        error = InputError(
            f"{len(group)} series of one acquisition: {names}; leave all but one out with "
            'acquisitions: {"<series UID>": {"use": false}}.'
        )
        journal.fail(error, OBJECTS, "duplicate series", "set use = false for all but one")
        return ranked[0]
    text = f"{len(group)} series of one acquisition: {names}; the first is used (quantitative, most corrections)."
    journal.find(
        "assumption",
        "series",
        text,
        value=ranked[0].series.uid,
        source=ranked[0].series.first.name,
        remedy="Leave the others out with use = false.",
        section=OBJECTS,
        item="duplicate series",
    )
    return ranked[0]
