"""Results without the patient: for every file of a result folder that is to leave the house.

The DICOM objects are cleaned by the rules of PS3.15 (``dicom_io.out_save``). Here the same is done to what goes
into ``results.json``, the tables and the report: identity, dates, file names and UIDs, wherever they stand.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.audit.integrity import sealed
from TheranosticDoseLib.errors import OutputError
from TheranosticDoseLib.files import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from TheranosticDoseLib.study import Study, Voi
    from TheranosticDoseLib.workflow.results import Results

FLAG = "deidentified"
_DATE = re.compile(
    r"\b(19|20)\d\d-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])([T ]?\d\d:?\d\d(:?\d\d(\.\d+)?)?)?\b"
)
_ZONE = re.compile(r"(\(date removed\))[+-]\d\d:?\d\d")
_UID = re.compile(r"\b[0-2](\.\d+){5,}\b")


def require_own_folder(out: Path) -> None:
    """Raise :class:`OutputError` where ``out`` holds results that may name the patient."""
    file = Path(out) / "results.json"
    try:
        if json.loads(file.read_text(encoding="utf-8")).get(FLAG):
            return
    except (OSError, ValueError, AttributeError):
        if not Path(out).is_dir() or not any(Path(out).iterdir()):
            return
    raise OutputError(
        f"{out} holds files that may name the patient; give de-identified results a folder of their own."
    )


def without_identity(results: Results) -> tuple[Results, dict[str, Any]]:
    """Return the results and their document without anything that tells who the patient is.

    Parameters
    ----------
    results : Results

    Returns
    -------
    Results
        To draw from: names of VOIs and scans without words of the patient.
    dict
        For ``results.json``; marked ``deidentified``, sealed.
    """
    from TheranosticDoseLib.report.document import results_document

    hide = _cleaner(results)
    anonymous = _results(results, hide)
    document = plain(_everywhere(results_document(anonymous), hide))
    return anonymous, sealed({**document, FLAG: True})


def _results(results: Results, hide: Callable[[str], str]) -> Results:
    def voi(one: Voi) -> Voi:
        return dataclasses.replace(
            one, name=hide(one.name), acquisition=hide(one.acquisition), origin=hide(one.origin)
        )

    def study(one: Study) -> Study:
        scans = tuple(
            dataclasses.replace(a, label=hide(a.label), datetime=None, files=()) for a in one.acquisitions
        )
        hashes = {f"file {i:04d}": value for i, value in enumerate(one.inputs.values(), start=1)}
        given = dataclasses.replace(one.administration, datetime=None)
        return dataclasses.replace(
            one,
            administration=given,
            acquisitions=scans,
            vois=tuple(map(voi, one.vois)),
            patient_id=pseudonym(one),
            inputs=hashes,
            dicom={},
        )

    registered = dataclasses.replace(
        results.registered,
        study=study(results.registered.study),
        reference=hide(results.registered.reference),
    )
    vois = tuple(dataclasses.replace(result, voi=voi(result.voi)) for result in results.vois)
    features = tuple(
        {**row, "case": pseudonym(results.study), "voi": hide(row["voi"])} for row in results.features
    )
    compared = results.comparison
    if compared is not None:
        dvhs = {hide(name): value for name, value in compared.dvhs.items()}
        compared = dataclasses.replace(compared, table=_everywhere(compared.table, hide), dvhs=dvhs)
    return dataclasses.replace(
        results,
        study=study(results.study),
        registered=registered,
        vois=vois,
        comparison=compared,
        features=features,
    )


def pseudonym(study: Study) -> str:
    """Return the name that the DICOM objects of this study get too (within one process)."""
    from TheranosticDoseLib.dicom_io.out_save import pseudonym_of

    return pseudonym_of(_secrets(study))


def _secrets(study: Study) -> set[str]:
    from TheranosticDoseLib.dicom_io.out_common import Place, study_module
    from TheranosticDoseLib.dicom_io.out_save import identifying_words

    return identifying_words(study_module(Place(study, study.acquisitions[0].label)))


def _cleaner(results: Results) -> Callable[[str], str]:
    """Return the function that takes identity, file names, dates and UIDs out of a text."""
    study = results.study
    files = {
        part for name in study.inputs for part in (name, PurePosixPath(name).name, PurePosixPath(name).stem)
    }
    files |= {entry["name"] for entry in results.request.get("voi_files", [])}
    names = _pattern(name for name in files if len(name) > 5)
    words = _pattern(_secrets(study))

    def hide(text: str) -> str:
        text = names.sub("(file)", text) if names else text
        text = words.sub("ANONYMIZED", text) if words else text
        return _UID.sub("(UID removed)", _ZONE.sub(r"\1", _DATE.sub("(date removed)", text)))

    return hide


def _pattern(words: Any) -> re.Pattern[str] | None:
    """Return what finds any of the words, longest first, not as a part of a longer one."""
    listed = sorted(map(re.escape, words), key=len, reverse=True)
    return (
        re.compile(rf"(?<![A-Za-z0-9])({'|'.join(listed)})(?![A-Za-z0-9])", re.IGNORECASE) if listed else None
    )


def _everywhere(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return value if re.fullmatch("[0-9a-f]{64}", value) else hide(value)
    if isinstance(value, dict):
        return {hide(str(key)): _everywhere(item, hide) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_everywhere(item, hide) for item in value]
    return value
