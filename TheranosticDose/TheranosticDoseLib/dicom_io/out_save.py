"""The last step of every export: de-identification where asked for, and a whole file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from TheranosticDoseLib.dicom_io.write_common import save_whole
from TheranosticDoseLib.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom.dataset import Dataset, FileDataset

_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
    "OtherPatientIDs",
)
_TEXT = ("LO", "SH", "LT", "ST", "UT", "UC", "PN", "CS", "UR")
_DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_WELL_KNOWN = "1.2.840.10008."
_NEEDS = (
    "De-identification needs the package dicom-anonymizer; install it with: pip install dicom-anonymizer."
)


def save_result(dataset: FileDataset, path: Path, deidentify: bool) -> Path:
    """Write an object, without any identifier of the patient where ``deidentify``.

    Raises
    ------
    EngineUnavailableError
        If de-identification is asked for and its library is not installed.
    OutputError
        If the file cannot be written.
    """
    if deidentify:
        deidentified(dataset)
    save_whole(dataset, path)
    return path


def deidentified(dataset: FileDataset) -> None:
    """Apply the basic profile of PS3.15 in place.

    The rules are those of the package ``dicom-anonymizer``, applied at every depth.  Sequences
    are kept and cleaned within, because the references and measurements of our objects stand there.
    All dates become dummies, private elements go, and UIDs are replaced consistently within one
    process, so that objects that are exported together still refer to each other.

    Raises
    ------
    EngineUnavailableError
        If the package is not installed.
    """
    try:
        from dicomanonymizer import simpledicomanonymizer as rules
    except ImportError:
        raise EngineUnavailableError(_NEEDS) from None
    secrets = identifying_words(dataset)
    _clean(dataset, rules, rules.initialize_actions(), secrets)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientID = dataset.PatientName = pseudonym_of(secrets)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "PS3.15 Basic Application Level Confidentiality Profile"


def pseudonym_of(secrets: set[str]) -> str:
    """Return the name that stands for the patient with these words, the same one within one process."""
    try:
        from dicomanonymizer import simpledicomanonymizer as rules
    except ImportError:
        raise EngineUnavailableError(_NEEDS) from None
    return "ANON-" + rules.get_UID(f"patient {sorted(secrets)}")[-8:]


def identifying_words(dataset: Mapping[str, Any] | Dataset) -> set[str]:
    """Return the words that identify the patient, lower case; from attributes by keyword."""
    words = set()
    for keyword in _IDENTIFYING:
        text = str(dataset.get(keyword, "") or "")
        words |= {text.lower(), *text.replace("^", " ").lower().split()}
    return {word for word in words if len(word) > 2}


def _clean(dataset: Dataset, rules: Any, actions: dict, secrets: set[str]) -> None:
    """Clean one level and the sequences below it."""
    for element in list(dataset):
        tag = (element.tag.group, element.tag.element)
        if element.tag.is_private:
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, rules, actions, secrets)
        elif element.VR == "UI":
            _replace_uids(element, rules)
        elif element.VR in ("DA", "DT", "TM"):
            if element.value:
                element.value = _DUMMY[element.VR]
        elif tag in actions:
            actions[tag](dataset, tag)
        elif element.VR in _TEXT and any(word in str(element.value).lower() for word in secrets):
            element.value = "ANONYMIZED"


def _replace_uids(element: Any, rules: Any) -> None:
    """Replace the UIDs of an element that are not those of the standard, or already replaced ones."""
    values = [element.value] if isinstance(element.value, str) else list(element.value or [])
    issued = set(rules.dictionary.values())
    changed = [
        uid if not uid or uid.startswith(_WELL_KNOWN) or uid in issued else rules.get_UID(str(uid))
        for uid in values
    ]
    if changed:
        element.value = changed[0] if len(changed) == 1 else changed
